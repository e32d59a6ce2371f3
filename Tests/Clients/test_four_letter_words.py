"""The four-letter words: their exact lines, the whitelist, and how they arrive."""
import os
import re
import socket
import types

import pytest

import wire
from harness import Server, wait_until
from wire import Client, Connection

WORDS = ["conf", "cons", "crst", "dirs", "dump", "envi", "isro", "mntr", "ruok", "srst", "srvr", "stat",
         "wchc", "wchp", "wchs"]

VERSION = r"Zookeeper version: 3\.\d+\.\d+[^\n]*, built on [^\n]+\n"
STATISTICS = (r"Latency min/avg/max: \d+/\d+\.\d{1,4}/\d+\n"
              r"Received: \d+\nSent: \d+\nConnections: \d+\nOutstanding: \d+\n"
              r"Zxid: 0x[0-9a-f]+\nMode: standalone\nNode count: \d+\n")
DATE = r"[^\n]+"
PEER = r"/127\.0\.0\.1:\d+"


@pytest.fixture(scope="module")
def scene():
    """A server with one session that has watches, and one that owns an ephemeral znode too."""
    with Server() as server:
        with Client(server.address, timeout=8000) as owner, Client(server.address) as watcher:
            owner.create("/x", b"abc")
            owner.create("/x/mine", flags=wire.EPHEMERAL)
            owner.get("/x", watch=True)
            watcher.get("/x", watch=True)
            watcher.exists("/missing", watch=True)
            watcher.children("/x", watch=True)
            yield types.SimpleNamespace(server=server, owner=owner, watcher=watcher)


def matches(pattern, text):
    assert re.fullmatch(pattern, text), f"expected /{pattern}/, got {text!r}"


def port_of(client):
    return client.socket.getsockname()[1]


def test_ruok(scene):
    assert scene.server.four_letter("ruok") == "imok"


def test_isro(scene):
    assert scene.server.four_letter("isro") == "rw"


def test_srvr(scene, apache):
    answer = scene.server.four_letter("srvr")
    matches(VERSION + STATISTICS, answer)
    if not apache:
        matches(r"3\.9\.\d+-aviary-\d+\.\d+\.\d+[^,]*", answer[19:].split(",")[0])


def test_srvr_counts_what_happened(make_server):
    server = make_server()

    def field(name):
        return re.search(rf"^{name}: (\S+)$", server.four_letter("srvr"), re.MULTILINE).group(1)

    assert field("Zxid") == "0x0"
    nodes = int(field("Node count"))
    assert nodes == 5, "root (counted twice), /zookeeper, config and quota"
    with Client(server.address) as client:
        client.create("/a")
        client.create("/a/b")
        assert field("Zxid") == "0x3"
        assert int(field("Node count")) == nodes + 2
        assert field("Connections") == "2", "the session's and that of the word"
        before = int(field("Received")), int(field("Sent"))
        for _ in range(50):
            client.exists("/a")
        after = int(field("Received")), int(field("Sent"))
        assert after[0] - before[0] >= 50 and after[1] - before[1] >= 50
        client.close_session()
    wait_until(lambda: field("Connections") == "1", what="the closed connection is no longer counted")


def test_stat(scene):
    answer = scene.server.four_letter("stat")
    matches(VERSION + rf"Clients:\n( {PEER}\[\d+\]\(queued=\d+,recved=\d+,sent=\d+\)\n)+\n" + STATISTICS,
            answer)
    for client in (scene.owner, scene.watcher):
        assert f" /127.0.0.1:{port_of(client)}[1](queued=0,recved=" in answer


def test_cons(scene):
    answer = scene.server.four_letter("cons")
    session = (r"sid=0x[0-9a-f]+,lop=[A-Z0-9]{2,6},est=\d+,to=\d+(,lcxid=0x[0-9a-f]+)?,"
               r"lzxid=0x[0-9a-f]+,lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+")
    matches(rf"( {PEER}\[\d+\]\(queued=\d+,recved=\d+,sent=\d+(,{session})?\)\n)+\n", answer)
    line = next(line for line in answer.splitlines() if f":{port_of(scene.owner)}[" in line)
    fields = dict(part.split("=") for part in re.search(r"\((.*)\)", line).group(1).split(","))
    assert fields["sid"] == hex(scene.owner.session_id)
    assert fields["lop"] == "GETD" and fields["to"] == "8000" and fields["lcxid"] == "0x3"
    assert int(fields["lzxid"], 16) == scene.owner.zxid
    assert int(fields["recved"]) == 4 and int(fields["sent"]) == 4


@pytest.mark.parametrize("operation, body, token", [
    ("ping", b"", "PING"), ("create", wire.create("/lop"), "CREA"),
    ("setData", wire.set_data("/lop", b""), "SETD"), ("exists", wire.path_watch("/"), "EXIS"),
    ("getACL", wire.path_only("/"), "GETA"), ("getChildren2", wire.path_watch("/"), "GETC"),
    ("sync", wire.path_only("/"), "SYNC"), ("multi", wire.multi(), "MULT"),
    ("multiRead", wire.multi(), "MLTR"), ("setACL", wire.set_acl("/lop", wire.OPEN_ACL), "SETA"),
    ("delete", wire.path_version("/lop"), "DELE"), ("setWatches", wire.set_watches(0), "SETW"),
    ("addWatch", wire.add_watch("/lop", 0), "ADDW"), ("whoAmI", b"", "HOMI"),
    ("getEphemerals", wire.path_only("/"), "GETE")])
def test_cons_names_the_last_operation(scene, operation, body, token):
    """The tests of this list run in its order: /lop is made, used and deleted."""
    with Client(scene.server.address) as client:
        client.call(operation, body, xid=wire.PING_XID if operation == "ping" else None)
        line = next(line for line in scene.server.four_letter("cons").splitlines()
                    if f":{port_of(client)}[" in line)
        assert re.search(r"lop=(\w+)", line).group(1) == token, line
        client.close_session()


def test_conf(scene):
    directory = re.escape(os.path.join(scene.server.data_dir, "version-2"))
    matches(rf"clientPort={scene.server.port}\nsecureClientPort=-1\ndataDir={directory}\n"
            rf"dataDirSize=\d+\ndataLogDir={directory}\ndataLogSize=\d+\ntickTime=2000\n"
            r"maxClientCnxns=0\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n"
            r"clientPortListenBacklog=-1\nserverId=\d+\n", scene.server.four_letter("conf"))


def test_dirs(scene):
    answer = scene.server.four_letter("dirs")
    matches(r"datadir_size: \d+\nlogdir_size: \d+\n", answer)
    directory = os.path.join(scene.server.data_dir, "version-2")
    size = sum(os.path.getsize(os.path.join(directory, name)) for name in os.listdir(directory))
    assert [int(part) for part in re.findall(r"\d+", answer)] == [size, size]


def test_dump(scene):
    answer = scene.server.four_letter("dump")
    expiries = rf"(\d+ expire at {DATE}:\n(\t0x[0-9a-f]+\n)*)+"
    connections = (rf"Connections dump:\nConnections Sets \(\d+\)/\(\d+\):\n"
                   rf"(\d+ expire at {DATE}:\n(\tip: {PEER} sessionId: 0x[0-9a-f]+\n)*)+")
    matches(rf"SessionTracker dump:\nSession Sets \(\d+\)/\(\d+\):\n{expiries}"
            rf"ephemeral nodes dump:\nSessions with Ephemerals \(1\):\n"
            rf"{hex(scene.owner.session_id)}:\n\t/x/mine\n({connections})?", answer)
    for client in (scene.owner, scene.watcher):
        assert f"\t{hex(client.session_id)}\n" in answer


def test_envi(scene):
    lines = scene.server.four_letter("envi").splitlines()
    assert lines[0] == "Environment:"
    fields = dict(line.split("=", 1) for line in lines[1:])
    assert {"zookeeper.version", "host.name", "os.name", "os.arch", "os.version", "user.name",
            "user.home", "user.dir"} <= set(fields)
    assert fields["os.name"] == "Linux" and fields["zookeeper.version"].startswith("3.")
    assert fields["os.version"] == os.uname().release


def test_wchs(scene):
    """Counts the data watches: two connections, on /x and /missing."""
    matches(r"2 connections watching 2 paths\nTotal watches:3\n\n?", scene.server.four_letter("wchs"))


def test_wchc(scene):
    answer = scene.server.four_letter("wchc")
    matches(r"(0x[0-9a-f]+\n(\t/[^\n]*\n)+)+\n", answer)
    assert _groups(answer) == {hex(scene.owner.session_id): {"/x"},
                               hex(scene.watcher.session_id): {"/x", "/missing"}}


def test_wchp(scene):
    answer = scene.server.four_letter("wchp")
    matches(r"(/[^\n]*\n(\t0x[0-9a-f]+\n)+)+\n", answer)
    assert _groups(answer) == {"/x": {hex(scene.owner.session_id), hex(scene.watcher.session_id)},
                               "/missing": {hex(scene.watcher.session_id)}}


def _groups(answer):
    groups = {}
    for line in answer.splitlines():
        if line.startswith("\t"):
            groups[head].add(line[1:])
        elif line:
            head = line
            groups[head] = set()
    return groups


def test_crst(make_server):
    server = make_server()
    with Client(server.address) as client:
        for _ in range(5):
            client.exists("/")
        assert f":{port_of(client)}[1](queued=0,recved=6,sent=6," in server.four_letter("cons")
        assert server.four_letter("crst") == "Connection stats reset.\n"
        line = server.four_letter("cons")
        assert re.search(rf":{port_of(client)}\[1\]\(queued=0,recved=0,sent=0,.*lop=NA,", line), line


def test_srst(make_server):
    server = make_server()
    with Client(server.address) as client:
        for _ in range(100):
            client.exists("/")
        assert int(server.mntr()["zk_packets_received"]) >= 100
        assert server.four_letter("srst") == "Server stats reset.\n"
        after = server.mntr()
        assert int(after["zk_packets_received"]) < 10 and int(after["zk_packets_sent"]) < 10
        assert after["zk_max_latency"] == "0"


GAUGES = """avg_latency min_latency max_latency packets_received packets_sent num_alive_connections
    outstanding_requests uptime znode_count watch_count ephemerals_count approximate_data_size
    global_sessions local_sessions open_file_descriptor_count max_file_descriptor_count
    connection_drop_probability outstanding_tls_handshake auth_failed_count
    non_mtls_remote_conn_count non_mtls_local_conn_count last_client_response_size
    min_client_response_size max_client_response_size""".split()
COUNTERS = """proposal_count commit_count looking_count diff_count snap_count digest_mismatches_count
    connection_request_count connection_rejected connection_drop_count connection_revalidate_count
    sessionless_connections_expired stale_sessions_expired stale_requests stale_requests_dropped
    stale_replies throttled_ops request_throttle_wait_count large_requests_rejected
    bytes_received_count response_bytes watch_bytes unsuccessful_handshake tls_handshake_exceeded
    ensemble_auth_success ensemble_auth_fail ensemble_auth_skip insecure_admin_count
    unrecoverable_error_count cnxn_closed_without_zk_server_running""".split()
COUNTERS_SINCE_39 = """snapshot_error_count snapshot_rate_limited_count restore_error_count
    restore_rate_limited_count""".split()
SUMMARIES = """fsynctime snapshottime dbinittime startup_snap_load_time startup_txns_load_time
    election_time unavailable_time leader_unavailable_time follower_sync_time observer_sync_time
    inflight_snap_count inflight_diff_count sync_processor_queue_size sync_processor_batch_size
    prep_processor_queue_size commit_commit_proc_req_queued node_created_watch_count
    node_deleted_watch_count node_changed_watch_count node_children_watch_count""".split()
ADVANCED_SUMMARIES = """readlatency updatelatency propagation_latency proposal_latency
    quorum_ack_latency sync_processor_queue_flush_time_ms prep_processor_queue_time_ms""".split()


def test_mntr_keys(scene, apache):
    answer = scene.server.four_letter("mntr")
    matches(r"(zk_[^\t\n]+\t[^\t\n]*\n)+", answer)
    lines = answer.splitlines()
    assert lines[0].startswith("zk_version\t3.") and lines[1] == "zk_server_state\tstandalone"
    names = [line.split("\t")[0] for line in lines]
    assert len(names) == len(set(names)), "a key appears twice"
    counters = COUNTERS + ([] if apache else COUNTERS_SINCE_39)
    wanted = {f"zk_{name}" for name in GAUGES + counters}
    for name in SUMMARIES + ADVANCED_SUMMARIES:
        wanted |= {f"zk_{part}_{name}" for part in ("avg", "min", "max", "cnt", "sum")}
    for name in ADVANCED_SUMMARIES:
        wanted |= {f"zk_{part}_{name}" for part in ("p50", "p95", "p99", "p999")}
    assert not wanted - set(names), f"missing: {sorted(wanted - set(names))}"


def test_mntr_values(make_server):
    server = make_server()
    base = server.mntr()
    for key, value in base.items():
        if key not in ("zk_version", "zk_server_state"):
            assert re.fullmatch(r"-?\d+(\.\d+(E-?\d+)?)?|NaN", value), (key, value)
    with Client(server.address) as client:
        client.create("/a", b"x" * 1000)
        client.create("/a/e", flags=wire.EPHEMERAL)
        client.get("/a", watch=True)
        for _ in range(20):
            client.set("/a/e", b"1")
        now = server.mntr()

        def grown(key):
            return int(now[key]) - int(base[key])

        assert grown("zk_znode_count") == 2 and grown("zk_ephemerals_count") == 1
        assert grown("zk_watch_count") == 1 and grown("zk_global_sessions") == 1
        assert grown("zk_num_alive_connections") == 1
        reserved = ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")
        assert int(base["zk_approximate_data_size"]) == sum(map(len, reserved))
        assert grown("zk_approximate_data_size") == len("/a") + 1000 + len("/a/e") + 1
        client.set("/a", b"y" * 10)
        client.delete("/a/e")
        assert int(server.mntr()["zk_approximate_data_size"]) \
            == int(base["zk_approximate_data_size"]) + len("/a") + 10
        assert grown("zk_packets_received") >= 23 and grown("zk_packets_sent") >= 23
        assert grown("zk_cnt_updatelatency") >= 22
        assert grown("zk_cnt_readlatency") >= 1
        assert grown("zk_cnt_fsynctime") >= 20, "each awaited write is flushed by itself"
        assert grown("zk_bytes_received_count") > 1000
        assert int(now["zk_outstanding_requests"]) == 0
        assert int(now["zk_uptime"]) > 0
        descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        assert abs(int(now["zk_open_file_descriptor_count"]) - descriptors) <= 3


def test_only_srvr_is_allowed_by_default(make_server):
    server = make_server(config={"4lw.commands.whitelist": None})
    matches(VERSION + STATISTICS, server.four_letter("srvr"))
    for word in set(WORDS) - {"srvr"}:
        assert server.four_letter(word) == \
            f"{word} is not executed because it is not in the whitelist.\n"


def test_whitelist_names_words(make_server):
    server = make_server(config={"4lw.commands.whitelist": "srvr, ruok ,wchs"})
    assert server.four_letter("ruok") == "imok"
    assert server.four_letter("wchs").startswith("0 connections watching 0 paths\n")
    assert server.four_letter("mntr") == "mntr is not executed because it is not in the whitelist.\n"


def test_the_connection_is_closed_after_the_answer(scene):
    with Connection(scene.server.address) as connection:
        connection.send_bytes(b"ruok")
        connection.socket.settimeout(5)
        assert _read_to_end(connection.socket) == b"imok"


def _read_to_end(stream):
    answer = b""
    while part := stream.recv(4096):
        answer += part
    return answer


@pytest.mark.parametrize("cuts", [(1,), (2,), (3,), (1, 2, 3)])
def test_a_word_may_arrive_in_pieces(scene, cuts):
    """Between two pieces the server answers somebody else, so it has seen the first one alone."""
    pieces = [b"ruok"[start:end] for start, end in zip((0, *cuts), (*cuts, 4))]
    with Connection(scene.server.address) as connection:
        for piece in pieces:
            connection.send_bytes(piece)
            assert scene.server.four_letter("isro") == "rw"
        connection.socket.settimeout(5)
        assert _read_to_end(connection.socket) == b"imok"


def test_a_newline_behind_the_word_does_no_harm(scene):
    with Connection(scene.server.address) as connection:
        connection.send_bytes(b"ruok\n")
        connection.socket.settimeout(5)
        try:
            assert _read_to_end(connection.socket) == b"imok"
        except ConnectionResetError:
            pytest.fail("the unread newline made a reset that can destroy the answer")


def test_a_word_is_none_behind_the_handshake(scene):
    """There it is a length far above the limit."""
    with Client(scene.server.address) as client:
        client.send_bytes(b"ruok")
        client.wait_closed()


@pytest.mark.parametrize("word", [b"abcd", b"RUOK", b"GET ", b"\r\n\r\n"])
def test_an_unknown_word_is_no_word(scene, word):
    with Connection(scene.server.address) as connection:
        connection.send_bytes(word)
        connection.wait_closed()
    assert scene.server.four_letter("ruok") == "imok"


def test_many_askers_at_once(scene):
    """Connections of words are closed and forgotten."""
    sockets = [socket.create_connection(scene.server.address) for _ in range(100)]
    for each in sockets:
        each.sendall(b"srvr")
    for each in sockets:
        each.settimeout(10)
        assert _read_to_end(each).endswith(b"\n")
        each.close()
    wait_until(lambda: int(scene.server.mntr()["zk_num_alive_connections"]) <= 3,
               what="no connection is left")


def test_a_client_that_leaves_in_the_middle_of_a_word(scene):
    before = int(scene.server.mntr()["zk_num_alive_connections"])
    for part in (b"", b"m", b"mn", b"mnt", b"mntr"):
        connection = Connection(scene.server.address)
        connection.send_bytes(part)
        connection.abort()
    wait_until(lambda: int(scene.server.mntr()["zk_num_alive_connections"]) <= before,
               what="their connections are gone")


def test_a_word_behind_pending_requests_sees_them(scene):
    """A word is answered from the same state as requests: after a reply it shows its effect."""
    with Client(scene.server.address) as client:
        zxid = client.call("create", wire.create("/seen")).zxid
        assert f"Zxid: {hex(zxid)}\n" in scene.server.four_letter("srvr")
        client.delete("/seen")
        client.close_session()
