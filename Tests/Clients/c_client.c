/* Scenarios for Apache's C client (libzookeeper_mt): c_client HOSTS SCENARIO
 *
 * Exit status 0 when every check of the scenario held; the first that does not is printed to
 * stderr. The scenario "restart" speaks with the test over its standard streams, line by line. */
#define THREADED
#include <zookeeper/zookeeper.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define SESSION_MILLISECONDS 10000
#define WAIT_SECONDS 20

/* Evaluates both sides once; they must be equal integers. */
#define EQUAL(left, right)                                                                     \
    do {                                                                                       \
        long long left_value = (left), right_value = (right);                                  \
        if (left_value != right_value)                                                         \
            fail(__LINE__, "%s is %lld, expected %lld", #left, left_value, right_value);       \
    } while (0)
#define TRUE(condition)                                                                        \
    do {                                                                                       \
        if (!(condition)) fail(__LINE__, "%s", #condition);                                    \
    } while (0)
#define SAME_TEXT(left, right)                                                                 \
    do {                                                                                       \
        const char *left_text = (left);                                                        \
        if (strcmp(left_text, (right)) != 0)                                                   \
            fail(__LINE__, "%s is \"%s\", expected \"%s\"", #left, left_text, (right));        \
    } while (0)

_Noreturn static void fail(int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "c_client.c:%d: ", line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* Everything that the library's threads tell the main thread; guarded by `lock`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct event {
    int type, state;
    char path[128];
    void *context;
};
static struct event events[256];
static int event_count, event_next;
static int connected_count;

/* Watchers of paths hear of the session as well; that is for the handle's own watcher, below. */
static void on_event(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle;
    if (type == ZOO_SESSION_EVENT) return;
    pthread_mutex_lock(&lock);
    if (event_count == 256) fail(__LINE__, "more events than any scenario makes");
    struct event *event = &events[event_count++];
    event->type = type;
    event->state = state;
    event->context = context;
    snprintf(event->path, sizeof event->path, "%s", path);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_session(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)path, (void)context;
    if (type != ZOO_SESSION_EVENT) fail(__LINE__, "event type %d at the session's watcher", type);
    pthread_mutex_lock(&lock);
    if (state == ZOO_CONNECTED_STATE) connected_count += 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Waits, with `lock` held, for a change; fails when WAIT_SECONDS are over. */
static void wait_change(int line, const char *what) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_SECONDS;
    if (pthread_cond_timedwait(&changed, &lock, &deadline) != 0) fail(line, "waiting for %s", what);
}

static zhandle_t *connect_to(const char *hosts) {
    int connected_before = connected_count;
    zhandle_t *handle = zookeeper_init(hosts, on_session, SESSION_MILLISECONDS, NULL, NULL, 0);
    TRUE(handle != NULL);
    pthread_mutex_lock(&lock);
    while (connected_count == connected_before) wait_change(__LINE__, "the connection");
    pthread_mutex_unlock(&lock);
    return handle;
}

/* The next event must be this one. */
static void expect_event(int line, int type, const char *path, void *context) {
    pthread_mutex_lock(&lock);
    while (event_next == event_count) wait_change(line, path);
    struct event *event = &events[event_next++];
    if (event->type != type || strcmp(event->path, path) != 0 || event->context != context
        || event->state != ZOO_CONNECTED_STATE)
        fail(line, "event type %d path %s state %d, expected type %d path %s", event->type,
             event->path, event->state, type, path);
    pthread_mutex_unlock(&lock);
}
#define EVENT(type, path, context) expect_event(__LINE__, (type), (path), (context))

/* An answer to a later request: events from before it have been delivered. */
static void no_event(zhandle_t *handle, int line) {
    struct Stat stat;
    EQUAL(zoo_exists(handle, "/", 0, &stat), ZOK);
    pthread_mutex_lock(&lock);
    if (event_next != event_count)
        fail(line, "unexpected event: type %d path %s", events[event_next].type,
             events[event_next].path);
    pthread_mutex_unlock(&lock);
}
#define NO_EVENT(handle) no_event((handle), __LINE__)

static void basics(zhandle_t *handle, const char *hosts) {
    (void)hosts;
    char path[64], data[64];
    struct Stat created, stat;
    EQUAL(zoo_create2(handle, "/basics", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path,
                      &created), ZOK);
    SAME_TEXT(path, "/basics");
    EQUAL(created.version, 0);
    EQUAL(created.dataLength, 3);
    EQUAL(created.ephemeralOwner, 0);
    EQUAL(created.czxid, created.mzxid);
    EQUAL(zoo_create2(handle, "/basics", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path, &stat),
          ZNODEEXISTS);
    EQUAL(zoo_create(handle, "/no/parent", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path),
          ZNONODE);

    int length = sizeof data;
    EQUAL(zoo_get(handle, "/basics", 0, data, &length, &stat), ZOK);
    EQUAL(length, 3);
    EQUAL(memcmp(data, "one", 3), 0);
    EQUAL(stat.czxid, created.czxid);
    EQUAL(stat.mzxid, created.mzxid);
    EQUAL(stat.pzxid, created.pzxid);
    EQUAL(stat.ctime, created.ctime);
    EQUAL(stat.mtime, created.mtime);
    EQUAL(stat.cversion, 0);

    EQUAL(zoo_set2(handle, "/basics", "three", 5, 0, &stat), ZOK);
    EQUAL(stat.version, 1);
    EQUAL(stat.dataLength, 5);
    TRUE(stat.mzxid > created.mzxid);
    EQUAL(zoo_set(handle, "/basics", "x", 1, 0), ZBADVERSION);

    /* The C library says null with length -1, and the server keeps it apart from empty. */
    EQUAL(zoo_create(handle, "/basics/null", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path),
          ZOK);
    length = sizeof data;
    EQUAL(zoo_get(handle, "/basics/null", 0, data, &length, &stat), ZOK);
    EQUAL(length, -1);
    EQUAL(zoo_create(handle, "/basics/empty", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path),
          ZOK);
    length = sizeof data;
    EQUAL(zoo_get(handle, "/basics/empty", 0, data, &length, &stat), ZOK);
    EQUAL(length, 0);

    EQUAL(zoo_delete(handle, "/basics", -1), ZNOTEMPTY);
    EQUAL(zoo_delete(handle, "/basics/null", 5), ZBADVERSION);
    EQUAL(zoo_delete(handle, "/basics/null", 0), ZOK);
    EQUAL(zoo_delete(handle, "/basics/null", 0), ZNONODE);
    EQUAL(zoo_exists(handle, "/basics/null", 0, &stat), ZNONODE);

    EQUAL(zoo_create2_ttl(handle, "/basics/ttl", "t", 1, &ZOO_OPEN_ACL_UNSAFE,
                          ZOO_PERSISTENT_WITH_TTL, 100000, path, sizeof path, &stat), ZOK);
    EQUAL(stat.ephemeralOwner, 0);
    EQUAL(zoo_create2(handle, "/basics/container", "c", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER,
                      path, sizeof path, &stat), ZOK);
    EQUAL(stat.ephemeralOwner, 0);
}

static void ephemerals(zhandle_t *handle, const char *hosts) {
    char path[64];
    int context;
    struct Stat stat;
    EQUAL(zoo_create(handle, "/eph", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    zhandle_t *owner = connect_to(hosts);
    int64_t session = zoo_client_id(owner)->client_id;
    TRUE(zoo_client_id(handle)->client_id != session);
    for (int number = 0; number < 12; number++) {
        char expected[64];
        snprintf(expected, sizeof expected, "/eph/n-%010d", number);
        EQUAL(zoo_create2(owner, "/eph/n-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL,
                          path, sizeof path, &stat), ZOK);
        SAME_TEXT(path, expected);
        EQUAL(stat.ephemeralOwner, session);
    }
    EQUAL(zoo_create(owner, "/eph/n-0000000003/child", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path,
                     sizeof path), ZNOCHILDRENFOREPHEMERALS);

    EQUAL(zoo_wexists(handle, "/eph/n-0000000007", on_event, &context, &stat), ZOK);
    EQUAL(stat.ephemeralOwner, session);
    EQUAL(zookeeper_close(owner), ZOK);
    EVENT(ZOO_DELETED_EVENT, "/eph/n-0000000007", &context);
    EQUAL(zoo_exists(handle, "/eph", 0, &stat), ZOK);
    EQUAL(stat.numChildren, 0);
    EQUAL(stat.cversion, 24);
}

static void multi(zhandle_t *handle, const char *hosts) {
    (void)hosts;
    char paths[2][64];
    struct Stat set_stat, stat;
    zoo_op_t operations[5];
    zoo_op_result_t results[5];
    zoo_create_op_init(&operations[0], "/multi", "m", 1, &ZOO_OPEN_ACL_UNSAFE, 0, paths[0], 64);
    zoo_create_op_init(&operations[1], "/multi/s-", "s", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE,
                       paths[1], 64);
    zoo_set_op_init(&operations[2], "/multi", "mm", 2, 0, &set_stat);
    zoo_check_op_init(&operations[3], "/multi", 1);
    zoo_delete_op_init(&operations[4], "/multi/s-0000000000", -1);
    EQUAL(zoo_multi(handle, 5, operations, results), ZOK);
    for (int index = 0; index < 5; index++) EQUAL(results[index].err, ZOK);
    SAME_TEXT(paths[0], "/multi");
    SAME_TEXT(paths[1], "/multi/s-0000000000");
    EQUAL(set_stat.version, 1);
    EQUAL(zoo_exists(handle, "/multi", 0, &stat), ZOK);
    EQUAL(stat.czxid, stat.mzxid);
    EQUAL(stat.czxid, stat.pzxid);
    EQUAL(stat.numChildren, 0);

    zoo_create_op_init(&operations[0], "/multi/never", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, paths[0],
                       64);
    zoo_check_op_init(&operations[1], "/multi", 7);
    zoo_set_op_init(&operations[2], "/multi", "x", 1, -1, &set_stat);
    EQUAL(zoo_multi(handle, 3, operations, results), ZBADVERSION);
    EQUAL(results[0].err, ZOK);
    EQUAL(results[1].err, ZBADVERSION);
    EQUAL(results[2].err, ZRUNTIMEINCONSISTENCY);
    EQUAL(zoo_exists(handle, "/multi/never", 0, &stat), ZNONODE);
    EQUAL(zoo_exists(handle, "/multi", 0, &stat), ZOK);
    EQUAL(stat.version, 1);
}

static void watches(zhandle_t *handle, const char *hosts) {
    char path[64], data[64];
    int length = sizeof data, first, second;
    struct Stat stat;
    struct String_vector children;
    zhandle_t *writer = connect_to(hosts);
    EQUAL(zoo_wexists(handle, "/watch", on_event, &first, &stat), ZNONODE);
    EQUAL(zoo_create(writer, "/watch", "a", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    EVENT(ZOO_CREATED_EVENT, "/watch", &first);

    EQUAL(zoo_wget(handle, "/watch", on_event, &second, data, &length, &stat), ZOK);
    EQUAL(zoo_set(writer, "/watch", "b", 1, -1), ZOK);
    EVENT(ZOO_CHANGED_EVENT, "/watch", &second);
    EQUAL(zoo_set(writer, "/watch", "c", 1, -1), ZOK);
    NO_EVENT(handle);

    EQUAL(zoo_wget_children2(handle, "/watch", on_event, &first, &children, &stat), ZOK);
    EQUAL(children.count, 0);
    deallocate_String_vector(&children);
    EQUAL(zoo_create(writer, "/watch/child", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path),
          ZOK);
    EVENT(ZOO_CHILD_EVENT, "/watch", &first);

    EQUAL(zoo_wexists(handle, "/watch/child", on_event, &second, &stat), ZOK);
    EQUAL(zoo_delete(writer, "/watch/child", -1), ZOK);
    EVENT(ZOO_DELETED_EVENT, "/watch/child", &second);
    NO_EVENT(handle);
    EQUAL(zookeeper_close(writer), ZOK);
}

static int compare_text(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void children(zhandle_t *handle, const char *hosts) {
    (void)hosts;
    char path[64];
    struct Stat stat;
    struct String_vector names;
    EQUAL(zoo_create(handle, "/kids", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    for (int number = 0; number < 100; number++) {
        snprintf(path, sizeof path, "/kids/%02d", number);
        EQUAL(zoo_create(handle, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    }
    EQUAL(zoo_get_children2(handle, "/kids", 0, &names, &stat), ZOK);
    EQUAL(names.count, 100);
    EQUAL(stat.numChildren, 100);
    EQUAL(stat.cversion, 100);
    qsort(names.data, 100, sizeof names.data[0], compare_text);
    for (int number = 0; number < 100; number++) {
        snprintf(path, sizeof path, "%02d", number);
        SAME_TEXT(names.data[number], path);
    }
    deallocate_String_vector(&names);
    EQUAL(zoo_get_children2(handle, "/kids/none", 0, &names, &stat), ZNONODE);
}

static int authenticated = 1;
static void on_authenticated(int status, const void *data) {
    (void)data;
    pthread_mutex_lock(&lock);
    authenticated = status;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void acls(zhandle_t *handle, const char *hosts) {
    char path[64], data[64];
    int length = sizeof data;
    struct Stat stat;
    struct ACL_vector acl;
    EQUAL(zoo_create(handle, "/secret", "s", 1, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path),
          ZINVALIDACL);
    EQUAL(zoo_add_auth(handle, "digest", "bob:pw", 6, on_authenticated, NULL), ZOK);
    pthread_mutex_lock(&lock);
    while (authenticated == 1) wait_change(__LINE__, "the answer to add_auth");
    pthread_mutex_unlock(&lock);
    EQUAL(authenticated, ZOK);
    EQUAL(zoo_create(handle, "/secret", "s", 1, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path), ZOK);
    EQUAL(zoo_get_acl(handle, "/secret", &acl, &stat), ZOK);
    EQUAL(acl.count, 1);
    EQUAL(acl.data[0].perms, ZOO_PERM_ALL);
    SAME_TEXT(acl.data[0].id.scheme, "digest");
    SAME_TEXT(acl.data[0].id.id, "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
    deallocate_ACL_vector(&acl);

    zhandle_t *stranger = connect_to(hosts);
    EQUAL(zoo_get(stranger, "/secret", 0, data, &length, &stat), ZNOAUTH);
    EQUAL(zoo_set(stranger, "/secret", "x", 1, -1), ZNOAUTH);
    EQUAL(zoo_set_acl(stranger, "/secret", -1, &ZOO_OPEN_ACL_UNSAFE), ZNOAUTH);
    EQUAL(zoo_set_acl(handle, "/secret", 0, &ZOO_READ_ACL_UNSAFE), ZOK);
    length = sizeof data;
    EQUAL(zoo_get(stranger, "/secret", 0, data, &length, &stat), ZOK);
    EQUAL(stat.aversion, 1);
    EQUAL(zoo_set(stranger, "/secret", "x", 1, -1), ZNOAUTH);
    EQUAL(zookeeper_close(stranger), ZOK);
}

#define PIPELINE 1000
static int completed, out_of_order;

static void on_created(int status, const char *value, const void *data) {
    pthread_mutex_lock(&lock);
    char expected[64];
    snprintf(expected, sizeof expected, "/pipe/%04ld", (long)data);
    if (status != ZOK || completed != (long)data || strcmp(value, expected) != 0) out_of_order = 1;
    completed += 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_data(int status, const char *value, int length, const struct Stat *stat,
                    const void *data) {
    pthread_mutex_lock(&lock);
    char expected[64];
    int expected_length = snprintf(expected, sizeof expected, "value %ld", (long)data);
    if (status != ZOK || completed != (long)data || length != expected_length
        || memcmp(value, expected, length) != 0 || stat->version != 0)
        out_of_order = 1;
    completed += 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void await_pipeline(int line) {
    pthread_mutex_lock(&lock);
    while (completed < PIPELINE) wait_change(line, "the pipeline");
    pthread_mutex_unlock(&lock);
    EQUAL(out_of_order, 0);
    completed = 0;
}

static void pipeline(zhandle_t *handle, const char *hosts) {
    (void)hosts;
    char path[64], value[64];
    struct Stat stat;
    EQUAL(zoo_create(handle, "/pipe", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    for (long number = 0; number < PIPELINE; number++) {
        snprintf(path, sizeof path, "/pipe/%04ld", number);
        int length = snprintf(value, sizeof value, "value %ld", number);
        EQUAL(zoo_acreate(handle, path, value, length, &ZOO_OPEN_ACL_UNSAFE, 0, on_created,
                          (void *)number), ZOK);
    }
    await_pipeline(__LINE__);
    for (long number = 0; number < PIPELINE; number++) {
        snprintf(path, sizeof path, "/pipe/%04ld", number);
        EQUAL(zoo_aget(handle, path, 0, on_data, (void *)number), ZOK);
    }
    await_pipeline(__LINE__);
    EQUAL(zoo_exists(handle, "/pipe", 0, &stat), ZOK);
    EQUAL(stat.numChildren, PIPELINE);
}

static void say(const char *line) {
    puts(line);
    fflush(stdout);
}

static void restart(zhandle_t *handle, const char *hosts) {
    (void)hosts;
    char path[64], line[64];
    struct Stat stat;
    int context;
    clientid_t before = *zoo_client_id(handle);
    EQUAL(zoo_create(handle, "/restart", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, path,
                     sizeof path), ZOK);
    EQUAL(zoo_create(handle, "/restart-watched", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path),
          ZOK);
    EQUAL(zoo_wexists(handle, "/restart-watched", on_event, &context, &stat), ZOK);
    for (int round = 1; round <= 3; round++) {
        say("restart the server");
        TRUE(fgets(line, sizeof line, stdin) != NULL);
        pthread_mutex_lock(&lock);
        while (connected_count < 1 + round) wait_change(__LINE__, "the new connection");
        pthread_mutex_unlock(&lock);
        EQUAL(zoo_client_id(handle)->client_id, before.client_id);
        EQUAL(zoo_exists(handle, "/restart", 0, &stat), ZOK);
        EQUAL(stat.ephemeralOwner, before.client_id);
        EQUAL(stat.version, round - 1);
        EQUAL(zoo_set(handle, "/restart", "x", 1, round - 1), ZOK);
    }
    NO_EVENT(handle);
    /* The library set the watch again at each new connection. */
    EQUAL(zoo_set(handle, "/restart-watched", "x", 1, -1), ZOK);
    EVENT(ZOO_CHANGED_EVENT, "/restart-watched", &context);
}

static void remove_watches(zhandle_t *handle, const char *hosts) {
    (void)hosts;
    char path[64], data[64];
    int length = sizeof data, context;
    struct Stat stat;
    struct String_vector names;
    EQUAL(zoo_create(handle, "/remove", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    EQUAL(zoo_wget(handle, "/remove", on_event, &context, data, &length, &stat), ZOK);
    EQUAL(zoo_wget_children2(handle, "/remove", on_event, &context, &names, &stat), ZOK);
    deallocate_String_vector(&names);
    EQUAL(zoo_remove_watches(handle, "/remove", ZWATCHTYPE_DATA, on_event, &context, 0), ZOK);
    EQUAL(zoo_set(handle, "/remove", "x", 1, -1), ZOK);
    NO_EVENT(handle);
    EQUAL(zoo_create(handle, "/remove/child", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path),
          ZOK);
    EVENT(ZOO_CHILD_EVENT, "/remove", &context);

    EQUAL(zoo_wget_children2(handle, "/remove", on_event, &context, &names, &stat), ZOK);
    deallocate_String_vector(&names);
    EQUAL(zoo_remove_all_watches(handle, "/remove", ZWATCHTYPE_ANY, 0), ZOK);
    EQUAL(zoo_delete(handle, "/remove/child", -1), ZOK);
    NO_EVENT(handle);
    EQUAL(zoo_remove_all_watches(handle, "/remove", ZWATCHTYPE_ANY, 0), ZNOWATCHER);
}

static const struct {
    const char *name;
    void (*run)(zhandle_t *handle, const char *hosts);
} scenarios[] = {
    {"basics", basics}, {"ephemerals", ephemerals}, {"multi", multi},
    {"watches", watches}, {"children", children}, {"acls", acls},
    {"pipeline", pipeline}, {"restart", restart}, {"remove_watches", remove_watches},
};

int main(int count, char **arguments) {
    if (count != 3) fail(__LINE__, "usage: c_client HOSTS SCENARIO");
    zoo_set_debug_level(ZOO_LOG_LEVEL_WARN);
    for (size_t index = 0; index < sizeof scenarios / sizeof scenarios[0]; index++) {
        if (strcmp(arguments[2], scenarios[index].name) == 0) {
            zhandle_t *handle = connect_to(arguments[1]);
            scenarios[index].run(handle, arguments[1]);
            EQUAL(zookeeper_close(handle), ZOK);
            return 0;
        }
    }
    fail(__LINE__, "unknown scenario %s", arguments[2]);
}
