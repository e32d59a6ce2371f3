"""The order of answers, and what happens behind them: sweeping, quotas, snapshots, purging."""
import gzip
import os
import random
import re
import threading
import time

import pytest

import wire
from harness import default_kind, wait_until
from wire import (BADVERSION, CHANGED, CHILD, CREATED, DELETED, NODEEXISTS, NONODE, NOTEMPTY, OK,
                  QUOTAEXCEEDED, Client, Decoder, Event)


@pytest.fixture
def client(server):
    with Client(server.address, timeout=30000) as connected:
        yield connected


class Tree:
    """What a server's tree must hold, kept the obvious way."""

    def __init__(self):
        self.nodes = {}

    def _children(self, path):
        return [other for other in self.nodes if other.rsplit("/", 1)[0] == path]

    def create(self, path, data):
        if path in self.nodes:
            return NODEEXISTS, None
        parent = path.rsplit("/", 1)[0]
        if parent and parent not in self.nodes:
            return NONODE, None
        self.nodes[path] = [data, 0]
        return OK, path

    def delete(self, path, version):
        if path not in self.nodes:
            return NONODE, None
        if version not in (-1, self.nodes[path][1]):
            return BADVERSION, None
        if self._children(path):
            return NOTEMPTY, None
        del self.nodes[path]
        return OK, None

    def set(self, path, data, version):
        if path not in self.nodes:
            return NONODE, None
        if version not in (-1, self.nodes[path][1]):
            return BADVERSION, None
        self.nodes[path] = [data, self.nodes[path][1] + 1]
        return OK, self.nodes[path][1]

    def get(self, path):
        return (OK, tuple(self.nodes[path])) if path in self.nodes else (NONODE, None)

    def children(self, path):
        if path not in self.nodes:
            return NONODE, None
        return OK, sorted(child.rsplit("/", 1)[1] for child in self._children(path))


def draw_request(draw, tree, number):
    """One request: (operation, body, expected error, expected value, how to read the value)."""
    path = "/t" + "".join(f"/{draw.randrange(3)}" for _ in range(draw.randrange(4)))
    data = f"data {number}".encode()
    version = draw.choice((-1, -1, -1, 0, 1))
    choice = draw.randrange(10)
    if choice < 3:
        return ("create", wire.create(path, data), *tree.create(path, data), lambda fields: fields.string())
    if choice < 4:
        return ("delete", wire.path_version(path, version), *tree.delete(path, version), lambda fields: None)
    if choice < 6:
        return ("setData", wire.set_data(path, data, version), *tree.set(path, data, version),
                lambda fields: fields.stat().version)
    if choice < 8:
        return ("getData", wire.path_watch(path), *tree.get(path),
                lambda fields: (fields.buffer(), fields.stat().version))
    if choice < 9:
        return ("getChildren", wire.path_watch(path), *tree.children(path),
                lambda fields: sorted(fields.strings()))
    return draw.choice((("ping", b"", OK, None, lambda fields: None),
                        ("sync", wire.path_only(path), OK, path, lambda fields: fields.string())))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1000, 5000])
def test_a_deep_pipeline_is_answered_in_order(server, seed, count):
    """All requests leave in one write; 5000 are more than may be in progress at once."""
    draw = random.Random(seed)
    tree = Tree()
    plan = [draw_request(draw, tree, number) for number in range(count)]
    out = b"".join(wire.request(wire.PING_XID if operation == "ping" else number + 1, operation, body)
                   for number, (operation, body, *_) in enumerate(plan))
    with Client(server.address, timeout=30000) as client:
        sender = threading.Thread(target=client.send_bytes, args=(out,))
        sender.start()
        written = 0
        for number, (operation, _, error, value, read) in enumerate(plan):
            reply = client.reply(30)
            where = f"request {number} of seed {seed}: {operation}"
            assert reply.xid == (wire.PING_XID if operation == "ping" else number + 1), where
            assert reply.error == error, where
            if operation in ("create", "delete", "setData"):
                assert reply.zxid > written, f"{where}: each write has a zxid of its own"
                written = reply.zxid
            else:
                assert reply.zxid >= written, f"{where}: a read sees the writes before it"
            if error == OK:
                assert read(Decoder(reply.body)) == value, where
        sender.join()
        for path in sorted(tree.nodes):
            assert (client.get(path)[0], client.exists(path).version) == tuple(tree.nodes[path])
        client.close_session()


def test_a_session_reads_its_own_writes(client):
    client.create("/own")
    client.send_bytes(b"".join(
        wire.request(2 * turn + 1, "setData", wire.set_data("/own", str(turn).encode()))
        + wire.request(2 * turn + 2, "getData", wire.path_watch("/own")) for turn in range(500)))
    for turn in range(500):
        assert Decoder(client.reply().body).stat().version == turn + 1
        fields = Decoder(client.reply().body)
        assert (fields.buffer(), fields.stat().version) == (str(turn).encode(), turn + 1)


def test_readers_do_not_wait_for_a_writer(server):
    """While one session has thousands of writes out, another one's reads are answered between them.

    One burst may be over before the reader's turn comes: bursts follow until it has come.
    """
    count = 5000
    with Client(server.address, timeout=30000) as writer, Client(server.address) as reader:
        writer.create("/slow")
        batch = b"".join(wire.request(number + 1, "setData", wire.set_data("/slow", b"x" * 500))
                         for number in range(count))

        def write():
            sender = threading.Thread(target=writer.send_bytes, args=(batch,))
            sender.start()
            for number in range(count):
                assert writer.reply(30).xid == number + 1
            sender.join()
            ends.append(writer.zxid)

        between, slowest = [], 0
        for _ in range(50):
            first, ends, seen = writer.zxid, [], []
            writing = threading.Thread(target=write)
            writing.start()
            while writing.is_alive():
                start = time.monotonic()
                seen.append(reader.call("exists", wire.path_watch("/slow")).zxid)
                slowest = max(slowest, time.monotonic() - start)
            writing.join()
            assert ends, "the writer got all its answers"
            between += [zxid for zxid in seen if first < zxid < ends[0]]
            if len(between) >= 3:
                break
        assert len(between) >= 3, "no read was answered between the writes"
        assert slowest < 1, f"a read took {slowest:.2f} s"


def test_an_event_comes_before_what_it_announces(server):
    """The watcher polls: no reply may show a change before the event of the watch set earlier."""
    with Client(server.address) as watcher, Client(server.address) as writer:
        writer.create("/seen", b"0")
        stop = threading.Event()

        def write():
            number = 0
            while not stop.is_set():
                number += 1
                writer.set("/seen", str(number).encode())

        thread = threading.Thread(target=write)
        thread.start()
        try:
            known = watcher.get("/seen", watch=True)[1].version
            changes = 0
            deadline = time.monotonic() + 20
            while changes < 200 and time.monotonic() < deadline:
                version = watcher.get("/seen", watch=True)[1].version
                if version != known:
                    events, watcher.events = watcher.events, []
                    assert [(event.type, event.path) for event in events] == [(CHANGED, "/seen")], \
                        f"version {known} became {version} with {events}"
                    known = version
                    changes += 1
            assert changes > 20, "the writer was active meanwhile"
        finally:
            stop.set()
            thread.join()


def test_own_events_come_before_the_reply(client):
    client.create("/e")
    client.get("/e", watch=True)
    client.children("/e", watch=True)
    client.exists("/e/k", watch=True)
    expected = []
    for operation, body, events in [
            ("create", wire.create("/e/k"), [(CREATED, "/e/k"), (CHILD, "/e")]),
            ("setData", wire.set_data("/e", b"1"), [(CHANGED, "/e")]),
            ("setData", wire.set_data("/e", b"2"), [])]:
        xid = client.send(operation, body)
        expected += [*events, xid]
    found = []
    while len(found) < len(expected):
        message = client.receive()
        found.append((message.type, message.path) if isinstance(message, Event) else message.xid)
    assert found == expected


def test_events_of_one_transaction_reach_all_watchers(server):
    watchers = [Client(server.address) for _ in range(50)]
    with Client(server.address) as writer:
        writer.create("/fan")
        for watcher in watchers:
            watcher.get("/fan", watch=True)
            watcher.ask("addWatch", wire.add_watch("/fan", 1))
        zxid = writer.call("multi", wire.multi(("setData", wire.set_data("/fan", b"1")),
                                               ("create", wire.create("/fan/a")),
                                               ("delete", wire.path_version("/fan/a")))).zxid
        for watcher in watchers:
            events = watcher.take_events()
            assert [(event.type, event.path) for event in events] == [
                (CHANGED, "/fan"), (CREATED, "/fan/a"), (DELETED, "/fan/a")]
            if default_kind() != "apache":
                assert {event.zxid for event in events} == {zxid}
            watcher.close()


def test_sequence_numbers_of_many_sessions(server):
    """Every number is given once, and to each session in the order of its requests."""
    count = 100
    clients = [Client(server.address) for _ in range(10)]
    clients[0].create("/s")
    batch = b"".join(wire.request(number + 1, "create", wire.create("/s/n-", flags=wire.SEQUENTIAL))
                     for number in range(count))
    for client in clients:
        client.send_bytes(batch)
    given = []
    for client in clients:
        own = [Decoder(client.reply().body).string() for _ in range(count)]
        assert own == sorted(own)
        given += own
        client.close()
    assert sorted(given) == [f"/s/n-{number:010}" for number in range(len(given))]


# Restarts

def test_nothing_acknowledged_is_lost(make_server):
    """Killed in the middle of a stream of writes, three times over."""
    server = make_server()
    acknowledged = 0
    with Client(server.address) as client:
        client.create("/log")
    for turn in range(3):
        with Client(server.address) as client:
            client.send_bytes(b"".join(
                wire.request(number + 1, "create", wire.create("/log/n-", b"x" * 200, flags=2))
                for number in range(2000)))
            for _ in range(300 * (turn + 1)):
                acknowledged = max(acknowledged, int(Decoder(client.reply().body).string()[-10:]))
            zxid = client.zxid
            server.kill()
        server.start()
        with Client(server.address) as client:
            names = client.children("/log")
            assert names == [f"n-{number:010}" for number in range(len(names))], "no gap"
            assert len(names) > acknowledged
            assert client.call("create", wire.create("/after-", flags=2)).zxid > zxid
            acknowledged = len(names) - 1


def contents(client, path="/"):
    """All of the tree below `path` as clients see it; sessions and their znodes left out."""
    data, stat = client.get(path)
    acl = client.ask("getACL", wire.path_only(path)).acl()
    found = {path: (data, stat, acl)}
    for name in client.children(path):
        found.update(contents(client, path.rstrip("/") + "/" + name))
    return found


def fill(server, count, prefix="/n"):
    with Client(server.address, timeout=30000) as client:
        for number in range(count):
            client.send("create", wire.create(f"{prefix}{number}", os.urandom(50)))
            if number % 3 == 0:
                client.send("setData", wire.set_data(f"{prefix}{number}", None))
            if number % 7 == 0:
                client.send("delete", wire.path_version(f"{prefix}{number}"))
        for _ in range(client.last_xid):
            assert client.reply().error == 0
        client.close_session()


def tree_of(server):
    with Client(server.address) as client:
        found = contents(client)
        client.close_session()
    return found


def snapshots(server):
    """Those that are complete; one that is being written has another name."""
    return [name for name in server.files("snapshot.") if not name.endswith(".tmp")]


def fill_until_snapshots(server, count):
    """Writes in rounds: how often a snapshot is due is partly chance, and they are written aside."""
    for turn in range(100):
        if len(snapshots(server)) >= count:
            return
        fill(server, 30, f"/r{turn}-")
    wait_until(lambda: len(snapshots(server)) >= count, what=f"{count} snapshots")


@pytest.mark.parametrize("crash", [True, False], ids=["kill", "term"])
def test_snapshots_by_count(make_server, crash):
    server = make_server(config={"snapCount": 20})
    fill_until_snapshots(server, 4)
    assert len(server.files("log.")) >= 3, "each snapshot begins a new log"
    before = tree_of(server)
    assert len(before) > 30
    server.restart(crash=crash)
    assert tree_of(server) == before
    zxids = [int(name.split(".")[1], 16) for name in snapshots(server)]
    assert len(set(zxids)) == len(zxids)


def test_few_writes_make_no_snapshot(make_server):
    server = make_server(config={"snapCount": 1000})
    before = snapshots(server)
    fill(server, 200)
    assert snapshots(server) == before


def test_purging_keeps_the_newest(make_server):
    server = make_server(config={"snapCount": 20})
    fill_until_snapshots(server, 8)
    before, names = tree_of(server), snapshots(server)
    logs = len(server.files("log."))
    server.stop()
    server.config.update({"autopurge.snapRetainCount": 3, "autopurge.purgeInterval": 1, "snapCount": 1000})
    server.start()

    def by_zxid(names):
        return sorted(int(name.split(".")[1], 16) for name in names)

    # The start itself may add one snapshot to the three that the purge leaves.
    newest = by_zxid(names)
    wait_until(lambda: by_zxid(snapshots(server))[0] in newest[-3:-1], what="old snapshots are removed")
    assert 3 <= len(snapshots(server)) <= 4
    wait_until(lambda: len(server.files("log.")) < logs, what="old logs are removed")
    assert tree_of(server) == before
    server.restart(crash=True)
    assert tree_of(server) == before


def test_without_a_purge_interval_everything_stays(make_server):
    server = make_server(config={"snapCount": 20})
    fill_until_snapshots(server, 6)
    names = snapshots(server) + server.files("log.")
    server.restart()
    assert set(names) <= set(server.files())


def test_gzip_snapshots(make_server):
    server = make_server(config={"snapCount": 20, "snapshot.compression.method": "gz"})
    fill_until_snapshots(server, 3)
    before = tree_of(server)
    names = snapshots(server)
    assert names and all(re.fullmatch(r"snapshot\.[0-9a-f]+\.gz", name) for name in names), names
    server.stop()
    newest = max(names, key=lambda name: int(name.split(".")[1], 16))
    with gzip.open(os.path.join(server.data_dir, "version-2", newest)) as file:
        assert file.read(4) == b"ZKSN"
    server.start()
    assert tree_of(server) == before
    server.stop()
    del server.config["snapshot.compression.method"]
    server.start()
    assert tree_of(server) == before, "what was written compressed is read without the setting"


def test_logs_without_a_snapshot(make_server):
    server = make_server()
    fill(server, 30)
    before = tree_of(server)
    server.kill()
    for name in snapshots(server):
        os.remove(os.path.join(server.data_dir, "version-2", name))
    server.start(wait=False)
    assert server.wait_exit(15) > 0
    assert "snapshot" in server.log_text(this_run=True).lower()
    server.config["snapshot.trust.empty"] = "true"
    server.start()
    assert tree_of(server) == before


# Sweeping

SWEEP = {"znode.container.checkIntervalMs": 100}


@pytest.fixture
def sweeping(make_server):
    """Apache reads these as properties without the prefix: only from the command line."""
    if default_kind() == "apache":
        return make_server(properties=SWEEP)
    return make_server(config=SWEEP)


def test_an_emptied_container_vanishes(sweeping):
    with Client(sweeping.address) as client:
        client.ask("createContainer", wire.create("/box", flags=wire.CONTAINER))
        client.ask("createContainer", wire.create("/never-used", flags=wire.CONTAINER))
        client.create("/box/a")
        client.create("/box/b")
        client.exists("/box", watch=True)
        client.delete("/box/a")
        time.sleep(0.4)  # four sweeps must pass the container that still has a child
        assert client.exists("/box"), "it has a child"
        client.delete("/box/b")
        event = client.wait_event()
        assert (event.type, event.path) == (DELETED, "/box")
        assert client.exists("/box") is None
        assert client.exists("/never-used"), "3.9 keeps a container that never had a child"


def test_a_ttl_node_vanishes(sweeping):
    ttl = 0.6
    with Client(sweeping.address) as client:
        def make(path):
            client.ask("createTTL", wire.create_ttl(path, ttl=int(ttl * 1000)))

        make("/parent")
        client.create("/parent/child")
        make("/renewed")
        start = time.monotonic()
        make("/short")
        client.exists("/short", watch=True)
        renewed = start
        while not client.events:
            client.set("/renewed", b"again")
            renewed = time.monotonic()
            time.sleep(0.1)  # renews more often than the TTL ends
            assert time.monotonic() - start < 5, "/short is still there"
        taken = time.monotonic() - start
        assert (client.events[0].type, client.events[0].path) == (DELETED, "/short")
        assert taken > ttl - 0.05, f"gone after {taken:.2f} s"
        if time.monotonic() - renewed < ttl:
            assert client.exists("/renewed"), "a setData starts the time anew"
        assert client.exists("/parent"), "it has a child"
        client.delete("/parent/child")
        wait_until(lambda: client.exists("/parent") is None, 5, "/parent is gone too")
        wait_until(lambda: client.exists("/renewed") is None, 5, "/renewed is gone too")


def test_ttl_and_containers_survive_a_restart(sweeping):
    with Client(sweeping.address) as client:
        client.ask("createTTL", wire.create_ttl("/ttl", ttl=1500))
        client.ask("createContainer", wire.create("/box", flags=wire.CONTAINER))
        client.create("/box/a")
    sweeping.restart(crash=True)
    with Client(sweeping.address) as client:
        client.delete("/box/a")
        wait_until(lambda: client.exists("/box") is None, 5, "/box is gone")
        wait_until(lambda: client.exists("/ttl") is None, 5, "/ttl is gone")


def test_without_extended_types_there_is_no_ttl(make_server, apache):
    if apache:
        server = make_server(properties={"zookeeper.extendedTypesEnabled": "false"})
    else:
        server = make_server(config={"extendedTypesEnabled": "false"})
    with Client(server.address) as client:
        assert client.error("createTTL", wire.create_ttl("/ttl")) == wire.UNIMPLEMENTED
        assert client.exists("/ttl") is None
        client.ask("createContainer", wire.create("/box", flags=wire.CONTAINER))


# Quotas

def set_quota(client, path, limits):
    """As `setquota` of the command line client does it."""
    made = "/zookeeper/quota"
    for part in path.strip("/").split("/"):
        made += "/" + part
        if client.exists(made) is None:
            client.create(made)
    client.create(made + "/zookeeper_limits", limits.encode())
    client.create(made + "/zookeeper_stats", b"count=0,bytes=0")


def usage(client, path):
    text = client.get(f"/zookeeper/quota{path}/zookeeper_stats")[0].decode()
    return {key: int(value) for key, value in re.findall(r"(\w+)=(-?\d+)", text)}


def test_a_quota_counts(client):
    client.create("/q", b"12345")
    client.create("/q/a", b"123")
    client.create("/other", b"x" * 100)
    set_quota(client, "/q", "count=1000,bytes=100000")
    assert usage(client, "/q") == {"count": 2, "bytes": 8}, "what is there already is counted"
    client.create("/q/a/b", b"1234567890")
    assert usage(client, "/q") == {"count": 3, "bytes": 18}
    client.set("/q/a/b", b"1")
    assert usage(client, "/q") == {"count": 3, "bytes": 9}
    client.set("/q/a/b", None)
    client.delete("/q/a/b")
    assert usage(client, "/q") == {"count": 2, "bytes": 8}
    client.multi(("create", wire.create("/q/m", b"22")), ("setData", wire.set_data("/q/a", b"")))
    assert usage(client, "/q") == {"count": 3, "bytes": 7}


def test_quota_usage_survives_a_restart(make_server):
    server = make_server()
    with Client(server.address) as client:
        client.create("/q", b"12345")
        set_quota(client, "/q", "count=10,bytes=100")
        client.create("/q/a", b"123")
        client.create("/q/e", b"1", flags=wire.EPHEMERAL)
        before = usage(client, "/q")
        assert before == {"count": 3, "bytes": 9}
        client.close_session()
    server.restart(crash=True)
    with Client(server.address) as client:
        assert usage(client, "/q") == {"count": 2, "bytes": 8}
        client.create("/q/b", b"1")
        assert usage(client, "/q") == {"count": 3, "bytes": 9}


def test_a_soft_quota_only_warns(make_server):
    server = make_server(config={"enforceQuota": "true"})
    with Client(server.address) as client:
        client.create("/q")
        set_quota(client, "/q", "count=2,bytes=5")
        client.create("/q/a", b"1234567890")
        client.create("/q/b")
        assert usage(client, "/q") == {"count": 3, "bytes": 10}
    server.wait_log(r"(?i)quota exceeded")


HARD = "count=-1,bytes=-1=;byteHardLimit={};countHardLimit={}"


def test_a_hard_quota_of_bytes(make_server):
    server = make_server(config={"enforceQuota": "true"})
    with Client(server.address) as client:
        client.create("/q", b"12345")
        set_quota(client, "/q", HARD.format(10, -1))
        client.create("/q/a", b"12345")
        assert client.error("create", wire.create("/q/b", b"1")) == QUOTAEXCEEDED
        assert client.error("setData", wire.set_data("/q/a", b"123456")) == QUOTAEXCEEDED
        assert client.exists("/q/b") is None and client.get("/q/a")[0] == b"12345"
        client.create("/q/empty", b"")
        client.set("/q/a", b"1234")
        client.set("/q/a", b"12345")
        assert usage(client, "/q") == {"count": 3, "bytes": 10}


def test_a_hard_quota_of_znodes(make_server):
    server = make_server(config={"enforceQuota": "true"})
    with Client(server.address) as client:
        client.create("/q")
        set_quota(client, "/q", HARD.format(-1, 3))
        client.create("/q/a")
        client.create("/q/b")
        assert client.error("create", wire.create("/q/c")) == QUOTAEXCEEDED
        assert client.error("create2", wire.create("/q/a/deep")) == QUOTAEXCEEDED
        client.set("/q/a", b"x" * 1000)
        client.create("/outside")
        client.delete("/q/b")
        client.create("/q/c")
        assert client.children("/q") == ["a", "c"]


def test_a_hard_quota_needs_to_be_enforced(client):
    client.create("/q")
    set_quota(client, "/q", HARD.format(5, 1))
    client.create("/q/a", b"1234567890")
    assert usage(client, "/q") == {"count": 2, "bytes": 10}
