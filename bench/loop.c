// The least a server can do: libuv, the frames of the client protocol, and canned answers.
//
// It is the baseline of the benchmarks: handshake, ping and getData as fast as C over libuv can
// give them, with one write for everything that one read asked. It keeps no znode; whatever else
// is asked is answered with a bare header, so that a load generator can go through its set-up.
//
//     cc -O2 -o loop bench/loop.c -luv
//     ./loop PORT [VALUE_BYTES]        prints "listening PORT"
#include <endian.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { READ_BYTES = 65536, FRAME_MAX = 1 << 20, STAT_BYTES = 68 };
enum { OP_GET_DATA = 4, OP_PING = 11, OP_CLOSE = -11 };

typedef struct {
    uv_tcp_t tcp;
    int has_session;
    int is_closing;
    // The beginning of a frame that is not here completely.
    char *partial;
    size_t partial_count, partial_capacity;
    char *out;
    size_t out_count, out_capacity;
} connection;

typedef struct {
    uv_write_t write;
    connection *owner;
    char bytes[];
} rest_of_output;

static uv_loop_t loop;
static char read_buffer[READ_BYTES];
static uint32_t value_bytes = 100;
static int64_t sessions = 0x100000000000000;

static void closed(uv_handle_t *handle) {
    connection *c = handle->data;
    free(c->partial);
    free(c->out);
    free(c);
}

static void close_connection(connection *c) {
    if (!uv_is_closing((uv_handle_t *)&c->tcp)) uv_close((uv_handle_t *)&c->tcp, closed);
}

static char *room(char **base, size_t count, size_t *capacity, size_t more) {
    if (count + more > *capacity) {
        *capacity = (count + more) * 2;
        *base = realloc(*base, *capacity);
        if (!*base) abort();
    }
    return *base + count;
}

static void put32(char *at, uint32_t value) {
    value = htobe32(value);
    memcpy(at, &value, 4);
}

static void put64(char *at, uint64_t value) {
    value = htobe64(value);
    memcpy(at, &value, 8);
}

static uint32_t get32(const char *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return be32toh(value);
}

static void answer_handshake(connection *c, const char *frame, uint32_t length) {
    if (length < 28) return close_connection(c);
    char *p = room(&c->out, c->out_count, &c->out_capacity, 41);
    memset(p, 0, 41);
    put32(p, 37);
    memcpy(p + 8, frame + 12, 4);  // The timeout that was asked for.
    put64(p + 12, (uint64_t)++sessions);
    put32(p + 20, 16);
    c->out_count += 41;
    c->has_session = 1;
}

static void answer(connection *c, const char *frame, uint32_t length) {
    if (length < 8) return close_connection(c);
    int32_t op = (int32_t)get32(frame + 4);
    uint32_t body = op == OP_GET_DATA ? 4 + value_bytes + STAT_BYTES : 0;
    char *p = room(&c->out, c->out_count, &c->out_capacity, 20 + body);
    put32(p, 16 + body);
    memcpy(p + 4, frame, 4);  // The xid.
    put64(p + 8, 1);
    put32(p + 16, 0);
    if (body) {
        put32(p + 20, value_bytes);
        memset(p + 24, 'v', value_bytes);
        memset(p + 24 + value_bytes, 0, STAT_BYTES);
    }
    c->out_count += 20 + body;
    if (op == OP_CLOSE) c->is_closing = 1;
}

// Answers every whole frame and returns how many bytes that were.
static size_t take_frames(connection *c, const char *bytes, size_t count) {
    size_t done = 0;
    while (count - done >= 4 && !c->is_closing) {
        uint32_t length = get32(bytes + done);
        if (length > FRAME_MAX) {
            close_connection(c);
            return count;
        }
        if (count - done - 4 < length) break;
        if (c->has_session) {
            answer(c, bytes + done + 4, length);
        } else {
            answer_handshake(c, bytes + done + 4, length);
        }
        done += 4 + length;
    }
    return done;
}

static void written(uv_write_t *write, int status) {
    rest_of_output *rest = (rest_of_output *)write;
    connection *c = rest->owner;
    free(rest);
    if (status < 0 || c->is_closing) close_connection(c);
}

static void flush(connection *c) {
    if (uv_is_closing((uv_handle_t *)&c->tcp)) return;
    if (c->out_count > 0) {
        uv_buf_t all = uv_buf_init(c->out, (unsigned)c->out_count);
        int sent = uv_try_write((uv_stream_t *)&c->tcp, &all, 1);
        if (sent < 0 && sent != UV_EAGAIN) return close_connection(c);
        if (sent < 0) sent = 0;
        size_t left = c->out_count - (size_t)sent;
        c->out_count = 0;
        if (left > 0) {
            rest_of_output *rest = malloc(sizeof *rest + left);
            if (!rest) abort();
            rest->owner = c;
            memcpy(rest->bytes, c->out + sent, left);
            uv_buf_t buffer = uv_buf_init(rest->bytes, (unsigned)left);
            if (uv_write(&rest->write, (uv_stream_t *)&c->tcp, &buffer, 1, written) < 0) {
                free(rest);
                close_connection(c);
            }
            return;
        }
    }
    if (c->is_closing) close_connection(c);
}

static void allocate(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    (void)handle;
    (void)wanted;
    *buffer = uv_buf_init(read_buffer, READ_BYTES);
}

static void received(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    connection *c = stream->data;
    if (count < 0) return close_connection(c);
    if (count == 0) return;
    if (c->partial_count > 0) {
        memcpy(
            room(&c->partial, c->partial_count, &c->partial_capacity, (size_t)count), buffer->base,
            (size_t)count);
        c->partial_count += (size_t)count;
        size_t done = take_frames(c, c->partial, c->partial_count);
        memmove(c->partial, c->partial + done, c->partial_count - done);
        c->partial_count -= done;
    } else {
        size_t done = take_frames(c, buffer->base, (size_t)count);
        size_t left = (size_t)count - done;
        if (left > 0) {
            memcpy(
                room(&c->partial, 0, &c->partial_capacity, left), buffer->base + done, left);
            c->partial_count = left;
        }
    }
    flush(c);
}

static void accepted(uv_stream_t *server, int status) {
    if (status < 0) return;
    connection *c = calloc(1, sizeof *c);
    if (!c) abort();
    uv_tcp_init(&loop, &c->tcp);
    c->tcp.data = c;
    if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0) return close_connection(c);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, allocate, received);
}

static void check(int result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "loop: %s: %s\n", what, uv_strerror(result));
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: loop PORT [VALUE_BYTES]\n");
        return 2;
    }
    if (argc > 2) value_bytes = (uint32_t)atoi(argv[2]);
    signal(SIGPIPE, SIG_IGN);
    check(uv_loop_init(&loop), "the event loop");
    uv_tcp_t server;
    struct sockaddr_in address;
    check(uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address), "the address");
    check(uv_tcp_init(&loop, &server), "the socket");
    check(uv_tcp_bind(&server, (const struct sockaddr *)&address, 0), "the port");
    check(uv_listen((uv_stream_t *)&server, 4096, accepted), "listening");
    int length = sizeof address;
    check(uv_tcp_getsockname(&server, (struct sockaddr *)&address, &length), "the port");
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(&loop, UV_RUN_DEFAULT);
}
