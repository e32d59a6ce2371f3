"""Whatever arrives: the answer is ZooKeeper's, only the sender suffers, and memory stays bounded."""
import os
import random
import socket
import struct
import time

import pytest

import wire
from harness import Server, default_kind, wait_until
from test_captures import SCENARIOS, load
from wire import (BADARGUMENTS, INVALIDACL, MARSHALLINGERROR, NONODE, NOWATCHER, OPCODES,
                  UNIMPLEMENTED, Client, Closed, Connection, Encoder, Silence)

MEGABYTE = 1 << 20
#: Opcodes that no client may use: internal ones, and numbers nobody has given a meaning.
UNKNOWN_OPCODES = [0, -1, 10, 13, 23, 50, 99, 108, 199, 500, 1000, -2, -9, -12, 2**31 - 1, -2**31]


@pytest.fixture(scope="module")
def server():
    """One server for all: what one test does to it shows in the others."""
    with Server() as running:
        with Client(running.address) as client:
            client.create("/z", b"data")
            client.close_session()
        yield running


@pytest.fixture(autouse=True)
def unharmed(server):
    """After each test the server serves others, and is the process it was."""
    pid = server.pid
    yield
    assert server.alive and server.pid == pid, server.log_tail()
    with Client(server.address) as client:
        assert client.get("/z")[0] == b"data"
        client.close_session()


def still_works(client):
    client.last_xid = 1000
    assert client.exists("/z") is not None


def utf8(text):
    return Encoder().string(text).bytes


# Frames

@pytest.mark.parametrize("length", [-1, -2, -2**31, 0xfffff + 1, 2**24, 2**30 - 1, 2**31 - 1])
@pytest.mark.parametrize("established", [True, False], ids=["session", "first"])
def test_a_length_out_of_bounds_closes(server, length, established):
    with Client(server.address) if established else Connection(server.address) as connection:
        connection.send_bytes(struct.pack(">i", length))
        connection.wait_closed()


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\0\0\5", b"\0\0\0\5\0\0\0"])
def test_a_frame_shorter_than_its_header_closes(server, payload):
    with Client(server.address) as client:
        client.send_bytes(wire.frame(payload))
        client.wait_closed()


@pytest.mark.parametrize("size", range(0, 44, 3))
def test_a_handshake_cut_short_closes(server, size):
    with Connection(server.address) as connection:
        connection.send_bytes(wire.frame(wire.connect_request(read_only=None)[4:][:size]))
        connection.wait_closed()


@pytest.mark.parametrize("length", [-2, -3, -2**31, 17, 2**31 - 1])
def test_a_handshake_with_a_bad_password_length_closes(server, length):
    record = Encoder().int(0).long(0).int(5000).long(0).int(length).raw(b"\0" * 16).bytes
    with Connection(server.address) as connection:
        connection.send_bytes(wire.frame(record))
        connection.wait_closed()


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\x16\x03\x01\x02", b"{}\n\n",
                                     b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_other_protocols_are_closed(server, garbage):
    with Connection(server.address) as connection:
        connection.send_bytes(garbage)
        connection.wait_closed()


def test_a_frame_may_arrive_in_any_pieces(server):
    """One byte per segment, or a cut at every place of two pipelined requests."""
    data = (wire.request(1, "getData", wire.path_watch("/z"))
            + wire.request(2, "exists", wire.path_watch("/z")))
    with Client(server.address) as client:
        for cut in range(1, len(data)):
            client.send_bytes(data[:cut])
            client.send_bytes(data[cut:])
            assert [client.reply().xid for _ in range(2)] == [1, 2]
        for byte in data:
            client.send_bytes(bytes([byte]))
        assert [client.reply().xid for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 11, 12, 20])
@pytest.mark.parametrize("how", ["close", "abort"])
def test_half_a_frame_then_the_end(server, cut, how):
    before = int(server.mntr()["zk_num_alive_connections"])
    client = Client(server.address)
    client.send_bytes(wire.request(1, "create", wire.create("/half"))[:cut])
    getattr(client, how)()
    wait_until(lambda: int(server.mntr()["zk_num_alive_connections"]) <= before,
               what="the connection is forgotten")
    with Client(server.address) as other:
        assert other.exists("/half") is None
        other.close_session()


def test_half_closed_connections_are_ended(server):
    """A client that closes its sending side gets no further service, and no place in the count."""
    before = int(server.mntr()["zk_num_alive_connections"])
    client = Client(server.address)
    client.socket.shutdown(socket.SHUT_WR)
    client.wait_closed()
    client.close()
    wait_until(lambda: int(server.mntr()["zk_num_alive_connections"]) <= before,
               what="the connection is forgotten")


# Opcodes

@pytest.mark.parametrize("opcode", UNKNOWN_OPCODES)
def test_an_unknown_opcode_is_refused_and_the_connection_closed(server, opcode, apache):
    if apache and opcode == 13:
        pytest.xfail("3.8.0 executes a check outside a multi")
    with Client(server.address) as client:
        reply = client.call(opcode, wire.path_version("/z"))
        assert (reply.zxid, reply.error, reply.body) == (-1, UNIMPLEMENTED, b"")
        client.wait_closed()


@pytest.mark.skipif(default_kind() == "apache", reason="Apache opens a second session")
def test_a_client_cannot_create_sessions_by_opcode(server):
    sessions = int(server.mntr()["zk_global_sessions"])
    with Client(server.address) as client:
        client.send("createSession", Encoder().int(5000).bytes)
        try:
            assert client.reply().error in (UNIMPLEMENTED, MARSHALLINGERROR)
            client.wait_closed()
        except Closed:
            pass
    assert int(server.mntr()["zk_global_sessions"]) <= sessions + 1


BODIES = {
    "create": wire.create("/z/c", b"abc"), "create2": wire.create("/z/c", b"abc"),
    "createContainer": wire.create("/z/c", b"abc", flags=4), "createTTL": wire.create_ttl("/z/c", b"abc"),
    "delete": wire.path_version("/z/none"), "setData": wire.set_data("/z/none", b"abc"),
    "setACL": wire.set_acl("/z/none", wire.OPEN_ACL),
    "exists": wire.path_watch("/z"), "getData": wire.path_watch("/z"), "getACL": wire.path_only("/z"),
    "getChildren": wire.path_watch("/z"), "getChildren2": wire.path_watch("/z"),
    "sync": wire.path_only("/z"), "getEphemerals": wire.path_only("/z"),
    "getAllChildrenNumber": wire.path_only("/z"), "addWatch": wire.add_watch("/z", 0),
    "checkWatches": wire.path_version("/z", 3), "removeWatches": wire.path_version("/z", 3),
    "setWatches": wire.set_watches(0, ["/z"], ["/q"], ["/z"]),
    "setWatches2": wire.set_watches(0, ["/z"], ["/q"], ["/z"])
    + bytes(Encoder().strings(["/z"]).strings(["/"]).bytes),
    "multi": wire.multi(("create", wire.create("/z/c")), ("delete", wire.path_version("/z/c"))),
    "multiRead": wire.multi(("getData", wire.path_watch("/z")), ("getChildren", wire.path_watch("/z")))}


@pytest.mark.parametrize("operation", BODIES)
def test_a_body_cut_anywhere_is_a_marshalling_error(server, operation, apache):
    """The connection stays. A body that is whole is answered with what it asks for."""
    body = BODIES[operation]
    with Client(server.address) as client:
        for size in range(len(body)):
            assert client.error(operation, body[:size]) == MARSHALLINGERROR, f"cut at {size}"
            client.events.clear()
        if not apache:
            zxid = client.ping().zxid
            client.error(operation, body[:-1])
            assert operation.startswith("multi") or client.ping().zxid == zxid, "it is no transaction"
        assert client.error(operation, body) != MARSHALLINGERROR
        if operation.startswith("create"):
            client.delete("/z/c")
        still_works(client)


@pytest.mark.parametrize("operation", sorted(set(BODIES) - {"multi", "multiRead"}))
def test_bytes_behind_a_body_are_ignored(server, operation):
    with Client(server.address) as client:
        expected = {"delete": NONODE, "setData": NONODE, "setACL": NONODE,
                    "checkWatches": NOWATCHER, "removeWatches": NOWATCHER}.get(operation, 0)
        assert client.error(operation, BODIES[operation] + b"\xff" * 9) == expected
        if operation.startswith("create"):
            client.delete("/z/c")
        still_works(client)


@pytest.mark.parametrize("length", [-2, -3, -2**31, 5, 1000, 0xfffff, 3 * 0xfffff, 2**31 - 1])
@pytest.mark.parametrize("operation", ["exists", "getData", "create", "setData", "getACL", "sync", "delete"])
def test_a_string_length_that_lies(server, operation, length):
    with Client(server.address) as client:
        assert client.error(operation, struct.pack(">i", length) + b"/ab\0") == MARSHALLINGERROR
        still_works(client)


@pytest.mark.parametrize("length", [-2, -2**31, 100, 2**31 - 1])
def test_a_data_length_that_lies(server, length):
    body = utf8("/z/never") + struct.pack(">i", length) + b"abc"
    with Client(server.address) as client:
        assert client.error("create", body) == MARSHALLINGERROR
        assert client.error("setData", body) == MARSHALLINGERROR
        assert client.exists("/z/never") is None


@pytest.mark.parametrize("count, error", [
    (2**31 - 1, MARSHALLINGERROR), (2**24, MARSHALLINGERROR), (2, MARSHALLINGERROR), (0, INVALIDACL),
    (-1, INVALIDACL), (-2, INVALIDACL), (-2**31, INVALIDACL)])
def test_a_count_of_acl_entries_that_lies(server, count, error):
    """A negative count is an empty list, a huge one only an error when the bytes run out."""
    entry = Encoder().int(31).string("world").string("anyone").bytes if count > 0 else b""
    body = utf8("/z/never") + struct.pack(">i", 0) + struct.pack(">i", count) + entry
    with Client(server.address) as client:
        tail = b"" if count > 0 else struct.pack(">i", 0)
        assert client.error("create", bytes(body + tail)) == error
        assert client.exists("/z/never") is None


@pytest.mark.parametrize("count", [2**31 - 1, 2**28, 1])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_count_of_watches_that_lies(server, count, position):
    body = struct.pack(">q", 0) + struct.pack(">i", 0) * position + struct.pack(">i", count)
    with Client(server.address) as client:
        reply = client.call("setWatches", body, xid=wire.SET_WATCHES_XID)
        assert reply.error == MARSHALLINGERROR
        still_works(client)


def test_negative_counts_of_watches_are_empty_lists(server):
    """-1 is the null list, which is refused; any other negative count is an empty one."""
    with Client(server.address) as client:
        def error(*counts):
            body = struct.pack(">qiii", 0, *counts)
            return client.call("setWatches", body, xid=wire.SET_WATCHES_XID).error

        assert error(-2, -3, -2**31) == 0
        assert error(-1, -1, -1) == MARSHALLINGERROR
        still_works(client)


@pytest.mark.parametrize("operation, rest, error", [
    ("create", Encoder().buffer(b"").acl(wire.OPEN_ACL).int(0), MARSHALLINGERROR),
    ("delete", Encoder().int(-1), MARSHALLINGERROR),
    ("exists", Encoder().bool(False), MARSHALLINGERROR),
    ("setData", Encoder().buffer(b"").int(-1), BADARGUMENTS),
    ("setACL", Encoder().acl(wire.OPEN_ACL).int(-1), BADARGUMENTS)])
def test_a_null_path(server, operation, rest, error):
    """Apache validates the path of some writes before it fails on it."""
    with Client(server.address) as client:
        assert client.error(operation, struct.pack(">i", -1) + bytes(rest.bytes)) == error
        still_works(client)


@pytest.mark.parametrize("body", [
    b"", wire.multi_header(1), wire.multi_header(1) + wire.create("/z/never"),
    wire.multi(("getData", wire.path_watch("/z"))), wire.multi(("setACL", wire.set_acl("/z", wire.OPEN_ACL))),
    wire.multi_header(14) + wire.multi(), wire.multi_header(-11) + wire.multi_header(-1, True),
    wire.multi_header(99) + wire.multi_header(-1, True),
    wire.multi_header(2**31 - 1) + wire.multi_header(-1, True)])
def test_a_malformed_multi(server, body):
    with Client(server.address) as client:
        assert client.error("multi", body) == MARSHALLINGERROR
        assert client.exists("/z/never") is None


def test_a_multi_of_many_operations(server):
    """As many as fit into a frame, in one transaction."""
    count = 8000
    operations = [("create", wire.create(f"/z/m{index:05}")) for index in range(count)]
    with Client(server.address) as client:
        results = client.multi(*operations)
        assert len(results) == count and results[-1] == (1, 0, f"/z/m{count - 1:05}")
        deletes = [("delete", wire.path_version(f"/z/m{index:05}")) for index in range(count)]
        assert {result[0] for result in client.multi(*deletes)} == {2}
        assert client.children("/z") == []


@pytest.mark.parametrize("path", [b"/\xff\xfe", b"/\xc3", b"/\xed\xa0\x80", b"/a\xf0\x9f\x98", b"/\xc0\xaf"])
def test_paths_of_broken_utf8_are_refused(server, path):
    with Client(server.address) as client:
        assert client.error("create", wire.create(path)) == BADARGUMENTS
        assert client.error("exists", wire.path_watch(path)) == NONODE
        still_works(client)


@pytest.mark.parametrize("flags, ttl", [(0, -1), (0, 5), (1, 5), (4, 5), (5, 0), (5, -1), (5, 2**40),
                                        (5, -2**63), (6, 2**63 - 1), (7, 5), (-1, 5), (2**31 - 1, 5)])
def test_a_ttl_that_cannot_be(server, flags, ttl, apache):
    """Apache logs some of these and dies of them, at every start."""
    if apache and flags == 0 and ttl < 0:
        pytest.skip("this kills Apache")
    with Client(server.address) as client:
        assert client.error("createTTL", wire.create_ttl("/z/ttl", flags=flags, ttl=ttl)) == BADARGUMENTS
        assert client.exists("/z/ttl") is None


@pytest.mark.parametrize("flags", [7, 8, -1, 100, 2**31 - 1, -2**31])
def test_flags_that_do_not_exist(server, flags):
    with Client(server.address) as client:
        for operation in ("create", "create2", "createContainer"):
            assert client.error(operation, wire.create("/z/flags", flags=flags)) == BADARGUMENTS
        assert client.exists("/z/flags") is None


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\0\xff\xff\xff\xfe", wire.auth("digest", b"x:y")[:-1],
                                  wire.auth("digest", b"")[:-4] + b"\x7f\xff\xff\xff"])
def test_a_malformed_auth_closes(server, body):
    with Client(server.address) as client:
        client.send("auth", body, xid=wire.AUTH_XID)
        client.wait_closed()


def test_long_paths_and_many_levels(server):
    deep = "/z/deep"
    with Client(server.address) as client:
        client.create(deep)
        made = [deep]
        for _ in range(200):
            made.append(client.create(made[-1] + "/" + "d" * 50))
        assert client.exists(made[-1]).numChildren == 0
        for path in reversed(made):
            client.delete(path)
        name = "/z/" + "n" * 500_000
        assert client.create(name) == name
        client.delete(name)


# Time

def test_identities_and_auth_entries_do_not_multiply(make_server):
    """A thousand identities at most, and no list of their products with thousands of entries."""
    server = make_server()
    with Client(server.address) as client:
        for number in range(999):
            client.add_auth("digest", b"user%d:pw" % number)
        entries = [(permissions, "auth", "") for permissions in range(1, 20_000)]
        assert client.error("create", wire.create("/product", acl=entries)) == INVALIDACL
        client.create("/sum", acl=[(31, "auth", "")])
        assert len(client.ask("getACL", wire.path_only("/sum")).acl()) == 999
        client.send("auth", wire.auth("digest", b"one:more"), xid=-4)
        assert client.reply().error == wire.AUTHFAILED
        client.wait_closed()
        assert server.resident_bytes() < 64 * MEGABYTE


def test_many_entries_of_a_list_take_no_time(make_server):
    server = make_server(config={"jute.maxbuffer": 4 * MEGABYTE})
    with Client(server.address) as client, Client(server.address) as other:
        entries = [(1, "digest", "u%d:x" % number) for number in range(40_000)]
        start = time.monotonic()
        client.send("create", wire.create("/many", acl=entries + entries))
        assert other.get("/zookeeper")[0] == b""
        client.reply(30)
        assert time.monotonic() - start < 3


def test_quota_counters_at_their_end(make_server):
    """What clients write there is only text; the server counts on."""
    server = make_server(config={"enforceQuota": "true"})
    with Client(server.address) as client:
        client.create("/zookeeper/quota/q")
        client.create("/zookeeper/quota/q/zookeeper_limits", b"count=9223372036854775807,bytes=9223372036854775807")
        client.create("/q")
        client.create("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0")
        client.set("/zookeeper/quota/q/zookeeper_stats", b"count=9223372036854775807,bytes=9223372036854775807")
        client.create("/q/a", b"12345")
        client.set("/q/a", b"123456789")
        client.delete("/q/a")


def test_who_never_speaks_is_cut(make_server):
    """nio.sessionlessCnxnTimeout: nothing at all, half a handshake, half a word."""
    impatient = make_server(config={"nio.sessionlessCnxnTimeout": 500})
    with Client(impatient.address) as client:
        start = time.monotonic()
        mute = [Connection(impatient.address) for _ in range(4)]
        mute[1].send_bytes(wire.connect_request()[:20])
        mute[2].send_bytes(b"ru")
        mute[3].send_bytes(struct.pack(">i", 45))
        for connection in mute:
            connection.wait_closed(5)
            connection.close()
        assert 0.4 < time.monotonic() - start < 4
        client.ping()
        assert client.exists("/") is not None
        wait_until(lambda: int(impatient.mntr()["zk_sessionless_connections_expired"]) >= 4,
                   what="they are counted")


# Memory

def test_a_client_that_does_not_read_costs_little(make_server):
    """It asks for 4 GB and reads nothing. The server stops reading from it instead of keeping replies."""
    server = make_server()
    size = 500_000
    with Client(server.address) as writer:
        writer.create("/big", b"x" * size)
        base = server.resident_bytes()
        greedy = Client(server.address, timeout=40000, receive_buffer=4096)
        greedy.socket.setblocking(False)
        batch = b"".join(wire.request(xid, "getData", wire.path_watch("/big")) for xid in range(8))
        sent, peak = 0, 0
        stuck = 0
        while sent < 1000 and stuck < 20:
            try:
                if greedy.socket.send(batch) < len(batch):
                    break
                sent += 1
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.01)  # polls the full socket
            start = time.monotonic()
            assert writer.exists("/big") is not None
            assert time.monotonic() - start < 2, "others are served meanwhile"
            peak = max(peak, server.resident_bytes())
        wait_until(lambda: server.four_letter("ruok") == "imok", what="words are answered")
        limit = 64 * MEGABYTE if server.kind == "aviary" else 500 * MEGABYTE
        assert peak - base < limit, f"grew by {(peak - base) // MEGABYTE} MB for {sent * 8} unread replies"
        greedy.close()
        wait_until(lambda: int(server.mntr()["zk_num_alive_connections"]) <= 2,
                   what="the connection is forgotten")
        for _ in range(50):
            assert writer.get("/big")[1].dataLength == size


def test_an_announced_frame_is_not_allocated(make_server):
    """500 connections announce a megabyte each and send none of it."""
    server = make_server()
    base = server.resident_bytes()
    connections = [Client(server.address) for _ in range(500)]
    for connection in connections:
        connection.send_bytes(struct.pack(">i", 0xfffff) + b"\0" * 8)
    with Client(server.address) as client:
        client.create("/served")
    if server.kind == "aviary":
        grown = server.resident_bytes() - base
        assert grown < 100 * MEGABYTE, f"{grown // MEGABYTE} MB for 500 announcements"
    for connection in connections:
        connection.close()


def test_connections_that_come_and_go_leave_nothing(make_server):
    server = make_server()

    def round_trip():
        for index in range(300):
            with Client(server.address) as client:
                client.get("/", watch=True)
                client.close_session() if index % 2 else client.abort()

    round_trip()
    base = server.resident_bytes()
    descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
    for _ in range(4):
        round_trip()
    wait_until(lambda: server.mntr()["zk_num_alive_connections"] == "1", what="no connection is left")
    assert len(os.listdir(f"/proc/{server.pid}/fd")) <= descriptors + 5
    assert server.mntr()["zk_watch_count"] == "0"
    if server.kind == "aviary":
        assert server.resident_bytes() - base < 16 * MEGABYTE


# Anything

def recorded_frames():
    rows = load()
    return [row.bytes for name in SCENARIOS for row in rows[name]
            if row.direction == "c2s" and 12 <= len(row.bytes) < 2000]


def mutate(draw, data):
    """One to four small damages; half of the time the length in front is made right again."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        if len(data) < 6:
            break
        place = draw.randrange(len(data))
        kind = draw.randrange(7)
        if kind == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place] = draw.choice((0, 1, 0x2f, 0x7f, 0x80, 0xff))
        elif kind == 2:
            del data[place:place + draw.randint(1, 8)]
        elif kind == 3:
            data[place:place] = draw.randbytes(draw.randint(1, 8))
        elif kind == 4:
            number = draw.choice((-1, -2, 0, 1, 5, 0xffff, 0xfffff, 2**31 - 1, -2**31))
            data[place:place + 4] = struct.pack(">i", number)
        elif kind == 5:
            data[8:12] = struct.pack(">i", draw.choice(list(OPCODES.values())))
        else:
            data += data[place:]
    if draw.random() < 0.7:
        data[:4] = struct.pack(">i", len(data) - 4)
    return bytes(data)


def fuzz_connection(draw, server, frames):
    """One life of a client that makes mistakes."""
    try:
        if draw.random() < 0.85:
            connection = Client(server.address, timeout=draw.choice((1, 4000, 10000)))
        else:
            connection = Connection(server.address)
            connection.send_bytes(mutate(draw, wire.connect_request()))
    except (Closed, Silence):
        return
    out = b""
    for _ in range(draw.randint(1, 12)):
        frame = draw.choice(frames)
        out += frame if draw.random() < 0.3 else mutate(draw, frame)
    cut = draw.randrange(len(out) + 1) if draw.random() < 0.2 else len(out)
    try:
        connection.send_bytes(out[:cut])
        wait = draw.choice((0, 0, 0.005, 0.02))
        while wait:
            connection.receive_frame(wait)
    except (Closed, Silence, OSError):
        pass
    if draw.random() < 0.3:
        connection.abort()
    else:
        connection.close()


def test_mutated_recordings(make_server):
    """FUZZ_SECONDS and FUZZ_SEED choose how long and which; the seed is printed."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "20"))
    seed = int(os.environ.get("FUZZ_SEED", str(random.SystemRandom().randrange(2**32))))
    print(f"to repeat: FUZZ_SEED={seed} FUZZ_SECONDS={seconds:g}")
    server = make_server(config={"tickTime": 500})
    frames = recorded_frames()
    assert len(frames) > 300
    draw = random.Random(seed)
    end = time.monotonic() + seconds
    peak, lives = 0, 0
    with Client(server.address, timeout=10000) as honest:
        path = honest.create("/honest-", b"0", flags=wire.SEQUENTIAL)
        while time.monotonic() < end:
            fuzz_connection(draw, server, frames)
            lives += 1
            if lives % 50 == 0:
                assert server.alive, f"died after {lives} connections, seed {seed}\n{server.log_tail()}"
                honest.ping()
                peak = max(peak, server.resident_bytes())
        print(f"{lives} connections, peak {peak // MEGABYTE} MB")
        assert server.alive, f"seed {seed}\n{server.log_tail()}"
        honest.ping()
        assert int(honest.ping().zxid) > 0
        reply = honest.call("exists", wire.path_watch(path))
        assert reply.error in (0, NONODE), "a mutated delete may have hit it"
        wait_until(lambda: int(server.mntr()["zk_num_alive_connections"]) <= 2, 10,
                   "only the honest connection is left")
        if server.kind == "aviary":
            assert peak < 300 * MEGABYTE, f"{peak // MEGABYTE} MB, seed {seed}"
        honest.close_session()
    if server.kind == "apache":
        return  # It lets clients create sessions of any timeout, and logs what it cannot read again.
    wait_until(lambda: server.mntr()["zk_global_sessions"] == "0", 30, "all sessions have expired")
    server.restart(crash=True)
    with Client(server.address) as client:
        assert "zookeeper" in client.children("/"), "what was written can be read again"
