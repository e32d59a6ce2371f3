"""A dataDir goes from Apache's server to ours and back, and what Apache left behind is read right.

Every server is started by this machine's Apache ZooKeeper 3.8.0 or by Aviary on the same directory,
one after the other. A dump is the whole tree as a super user sees it: data, stat, ACL of each node.
"""
import base64
import itertools
import json
import re
import shutil

import pytest

import harness
import storage_files
import wire

STORAGE = harness.FIXTURES / "storage"
FIXTURE_FOLDERS = sorted(path.parent.name for path in STORAGE.glob("*/expected.json"))
OURS = harness.default_kind()
SESSION_MILLISECONDS = 600_000
SUPER = b"super:secret"


def make_server(kind, data_dir, **config):
    """Any kind on any directory, with the settings that matter for what is on disk."""
    config = {"maxSessionTimeout": SESSION_MILLISECONDS, "preAllocSize": 16} | config
    super_digest = ("DigestAuthenticationProvider.superDigest", wire.digest_id(SUPER.decode()))
    if kind == "aviary":
        return harness.Server(kind=kind, data_dir=data_dir, config=config | dict([super_digest]))
    properties = {f"zookeeper.{super_digest[0]}": super_digest[1]}
    return harness.Server(kind=kind, data_dir=data_dir, config=config, properties=properties)


class Super(wire.Client):
    """A client that may see everything."""

    def __init__(self, server, **arguments):
        super().__init__(server.address, **arguments)
        assert self.add_auth("digest", SUPER).error == 0

    def acl(self, path):
        fields = self.ask("getACL", wire.path_only(path))
        return fields.acl(), fields.stat()

    def dump(self):
        """{path: (data, stat, acl)} of the whole tree."""
        nodes, waiting = {}, ["/"]
        while waiting:
            path = waiting.pop()
            data, stat = self.get(path)
            acl, acl_stat = self.acl(path)
            assert acl_stat == stat, f"{path}: getData and getACL disagree"
            children = self.children(path)
            assert len(children) == stat.numChildren
            nodes[path] = (data, stat, sorted(acl))
            waiting += [path.rstrip("/") + "/" + child for child in children]
        return nodes


def dump_of(server):
    with Super(server) as client:
        nodes = client.dump()
        client.close_session()
    return nodes


def assert_same(found, expected, where):
    assert found.keys() == expected.keys(), (
        f"{where}: missing {sorted(expected.keys() - found.keys())[:10]}, "
        f"too many {sorted(found.keys() - expected.keys())[:10]}")
    wrong = [f"{path}\n    have {found[path]}\n    want {expected[path]}"
             for path in expected if found[path] != expected[path]]
    assert not wrong, f"{where}:\n  " + "\n  ".join(wrong[:10])


# Writes

def write_everything(server, base, sessions):
    """Every kind of write below `base`; ephemerals belong to a new session, added to `sessions`."""
    with Super(server, timeout=SESSION_MILLISECONDS) as client:
        sessions.append((client.session_id, client.password))
        digest = wire.digest_id("bob:pw")
        assert client.add_auth("digest", b"bob:pw").error == 0
        client.create(base, b"base")
        client.create(f"{base}/empty", b"")
        client.create(f"{base}/null", None)
        client.create(f"{base}/binary", bytes(range(256)) * 40)
        client.create(f"{base}/grüße-漢字", "Grüße 漢字".encode())
        for number in range(3):
            client.create(f"{base}/seq-", b"s%d" % number, wire.SEQUENTIAL)
        client.create(f"{base}/eph", b"e", wire.EPHEMERAL)
        client.create(f"{base}/eph-", b"e", wire.EPHEMERAL_SEQUENTIAL)
        client.ask("createContainer", wire.create(f"{base}/container", b"c", flags=wire.CONTAINER))
        client.create(f"{base}/container/child")
        client.ask("createTTL", wire.create_ttl(f"{base}/ttl", b"t", ttl=86_400_000))
        client.ask("createTTL", wire.create_ttl(f"{base}/ttl-", b"t", flags=wire.TTL_SEQUENTIAL,
                                                ttl=86_400_000))
        client.ask("create2", wire.create(f"{base}/create2", b"2"))

        client.create(f"{base}/acl-digest", acl=[(31, "digest", digest)])
        client.create(f"{base}/acl-auth", acl=[(31, "auth", "")])
        client.create(f"{base}/acl-mixed", acl=[(1, "world", "anyone"), (16, "ip", "127.0.0.0/8"),
                                                (31, "digest", digest)])
        client.ask("setACL", wire.set_acl(f"{base}/empty", [(5, "world", "anyone")]))
        client.ask("setACL", wire.set_acl(f"{base}/empty", [(7, "world", "anyone")], 1))

        for number in range(5):
            client.set(f"{base}/create2", b"version %d" % number, number)
        client.set(f"{base}/container", None)
        client.delete(f"{base}/seq-0000000004")

        client.multi(("create", wire.create(f"{base}/multi", b"m")),
                     ("create", wire.create(f"{base}/multi/seq-", b"", flags=wire.SEQUENTIAL)),
                     ("create", wire.create(f"{base}/multi/eph", b"", flags=wire.EPHEMERAL)),
                     ("setData", wire.set_data(f"{base}/multi", b"mm")),
                     ("check", wire.path_version(f"{base}/multi", 1)),
                     ("delete", wire.path_version(f"{base}/multi/seq-0000000000")))
        failed = client.multi(("create", wire.create(f"{base}/never")),
                              ("check", wire.path_version(base, 99)))
        assert [error for _, error, _ in failed] == [0, wire.BADVERSION]
        assert client.error("create", wire.create(base)) == wire.NODEEXISTS
        assert client.error("delete", wire.path_version(f"{base}/none")) == wire.NONODE
        assert client.error("setData", wire.set_data(base, b"", 99)) == wire.BADVERSION

        client.create(f"{base}/quota", b"12345")
        limits = f"/zookeeper/quota{base}/quota"
        for path in (f"/zookeeper/quota{base}", limits):
            client.create(path)
        client.create(f"{limits}/zookeeper_limits", b"count=5,bytes=1000")
        client.create(f"{limits}/zookeeper_stats", b"count=0,bytes=0")
        client.create(f"{base}/quota/child", b"1234567890")
        client.set(f"{base}/quota", b"123")
        client.create(f"{base}/quota/child/gone", b"1")
        client.delete(f"{base}/quota/child/gone")
        assert client.get(f"{limits}/zookeeper_stats")[0].startswith(b"count=2,bytes=13")

    # A session that ends takes its nodes along, on the disk as well.
    with wire.Client(server.address, SESSION_MILLISECONDS) as closing:
        closing.create(f"{base}/gone", b"", wire.EPHEMERAL)
        closing.multi(("create", wire.create(f"{base}/gone-", flags=wire.EPHEMERAL_SEQUENTIAL)))
        closing.close_session()


def last_zxid(server):
    return int(re.search(r"Zxid: (0x[0-9a-f]+)", server.four_letter("srvr")).group(1), 16)


def assert_sessions_live(server, sessions, zxid):
    """Each session of before can be taken up again, with its password and what it has seen."""
    for session_id, password in sessions:
        with wire.Client(server.address, SESSION_MILLISECONDS, session_id, password,
                         zxid) as client:
            assert client.session_id == session_id, f"session {session_id:#x} was refused"
            assert client.ask("getEphemerals", wire.path_only("/")).strings()
        wrong = bytes(16)
        with wire.Client(server.address, SESSION_MILLISECONDS, session_id, wrong) as client:
            assert client.refused, "a wrong password was accepted"


# Back and forth

COMPRESSIONS = ["", "gz"]


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=["plain", "gz"])
@pytest.mark.parametrize("first", ["apache", OURS], ids=["from-apache", "from-ours"])
def test_back_and_forth(tmp_path, first, compression):
    """Eight servers in turn; each finds what the last one left and adds to it."""
    config = {"snapshot.compression.method": compression} if compression else {}
    kinds = ["apache", OURS] if first == "apache" else [OURS, "apache"]
    data_dir = tmp_path / "data"
    sessions, tree, zxid = [], None, 0
    for turn, kind in zip(range(8), itertools.cycle(kinds)):
        # A snapshot at each start, none later: what was written is in the log only.
        with make_server(kind, data_dir, **config) as server:
            where = f"turn {turn} ({kind}) in {data_dir}"
            assert last_zxid(server) == zxid, where
            if tree is not None:
                assert_same(dump_of(server), tree, where)
                assert_sessions_live(server, sessions, zxid)
            write_everything(server, f"/turn{turn}", sessions)
            tree = dump_of(server)
            zxid = last_zxid(server)
            # Only a crash leaves a log without an orderly end.
            server.kill() if turn % 4 < 2 else server.stop()
        assert storage_files.last_zxid(data_dir) == zxid, where
    if compression:
        assert any(path.suffix == ".gz" for path in storage_files.files(data_dir, "snapshot"))
        assert all(path.suffix == ".gz" for path in storage_files.files(data_dir, "snapshot"))
    zxids = [record.zxid for log in storage_files.files(data_dir, "log")
             for record in storage_files.records(log)]
    assert zxids == list(range(1, zxid + 1)), "each zxid is used once, in order"


@pytest.mark.parametrize("writer, reader", [(OURS, "apache"), ("apache", OURS)])
@pytest.mark.parametrize("compression", COMPRESSIONS, ids=["plain", "gz"])
def test_a_snapshot_alone_is_enough(tmp_path, writer, reader, compression):
    """Without the logs: the reader only has the snapshot which the writer took at a start."""
    config = {"snapshot.compression.method": compression} if compression else {}
    data_dir = tmp_path / "data"
    sessions = []
    with make_server(writer, data_dir, **config) as server:
        write_everything(server, "/all", sessions)
        server.restart()
        tree, zxid = dump_of(server), last_zxid(server)
        # The dump's own session came behind the snapshot and left no trace in the tree.
        newest = storage_files.files(data_dir, "snapshot")[-1]
        assert storage_files.zxid_of(newest) == zxid - 2
        server.kill()
    for log in storage_files.files(data_dir, "log"):
        log.unlink()
    for older in storage_files.files(data_dir, "snapshot")[:-1]:
        older.unlink()
    with make_server(reader, data_dir, **config) as server:
        assert last_zxid(server) == zxid - 2
        assert_same(dump_of(server), tree, f"{reader} on a snapshot of {writer}")
        assert_sessions_live(server, sessions, zxid - 2)


@pytest.mark.parametrize("writer, reader", [(OURS, "apache"), ("apache", OURS)])
def test_snapshots_taken_under_load(tmp_path, writer, reader):
    """Many rolls and snapshots while writes go on; then a crash, and the other one reads."""
    data_dir = tmp_path / "data"
    with make_server(writer, data_dir, snapCount=50, preAllocSize=4) as server:
        with wire.Client(server.address) as client:
            client.create("/load")
            for batch in range(200):
                first = batch * 50
                for number in range(first, first + 50):
                    client.send("create", wire.create(f"/load/{number:05}", b"%d" % number))
                    client.send("setData", wire.set_data("/load", b"%d" % number))
                    client.send("delete", wire.path_version(f"/load/{number - 30:05}"))
                for number in range(first, first + 50):
                    errors = [client.reply().error for _ in range(3)]
                    assert errors == [0, 0, 0 if number >= 30 else wire.NONODE]
                # One snapshot at a time: how many there are depends on how fast they are.
                if len(storage_files.files(data_dir, "snapshot")) > 5:
                    break
            client.close_session()
        tree, zxid = dump_of(server), last_zxid(server)
        server.kill()
    assert len(storage_files.files(data_dir, "snapshot")) > 5
    with make_server(reader, data_dir) as server:
        assert last_zxid(server) == zxid
        assert_same(dump_of(server), tree, f"{reader} on the files of {writer}")


@pytest.mark.parametrize("writer, reader", [(OURS, "apache"), ("apache", OURS)])
def test_digest_of_the_tree_agrees(tmp_path, writer, reader):
    """The reader compares its tree with the digest behind every transaction of the writer."""
    data_dir = tmp_path / "data"
    with make_server(writer, data_dir) as server:
        write_everything(server, "/digest", [])
        zxid = last_zxid(server)
        server.kill()
    digests = []
    for number, kind in enumerate((writer, reader)):
        # Each on a copy: Apache knows no digest when nothing behind the snapshot was replayed.
        copy = shutil.copytree(data_dir, tmp_path / f"copy-{number}")
        with make_server(kind, copy) as server:
            digests.append(newest_digest(server))
            assert not re.search("(?i)digest.*mismatch|digests are not matching", server.log_text())
    assert digests[0] == digests[1]
    assert digests[0][:2] == (zxid, 2)


def newest_digest(server):
    """(zxid, version, digest) in the snapshot that a server takes right after it has loaded."""
    return harness.wait_until(lambda: whole_snapshot(server), 10, f"snapshot of {server.kind}")


def whole_snapshot(server):
    """The digest of the snapshot at the server's last zxid, or None while it isn't there."""
    name = f"snapshot.{last_zxid(server):x}"
    path = storage_files.version_dir(server.data_dir) / name
    if not path.exists():
        return None
    try:
        digest, _ = storage_files.snapshot_sections(path)
    except AssertionError:
        return None
    return digest


# What Apache ZooKeeper 3.8.0 and 3.9.3 left behind

def expected_of(folder):
    return json.loads((STORAGE / folder / "expected.json").read_text(encoding="utf-8"))


def expected_tree(expected):
    return {node["path"]: (None if node["data"] is None else base64.b64decode(node["data"]),
                           wire.Stat(**node["stat"]),
                           sorted((entry["perms"], entry["scheme"], entry["id"])
                                  for entry in node["acl"]))
            for node in expected["nodes"]}


@pytest.mark.parametrize("folder", FIXTURE_FOLDERS)
def test_golden_data(tmp_path, folder):
    if OURS == "apache" and (folder.startswith("3.9.3") or folder.endswith("nodigest")):
        pytest.skip("Apache 3.8.0 does not read all of 3.9.3")
    expected = expected_of(folder)
    data_dir = tmp_path / "data"
    shutil.copytree(STORAGE / folder / "data", data_dir)
    server = make_server(OURS, data_dir)
    try:
        if not expected["starts"]:
            with pytest.raises(harness.StartFailure):
                server.start()
            status = server.process.poll()
            assert status is not None and status > 0, f"exit status {status}\n{server.log_tail()}"
            if OURS == "aviary":
                assert_refusal_names_the_file(server, folder)
            return
        server.start()
        zxid = int(expected["lastZxid"], 16)
        assert last_zxid(server) == zxid
        if expected.get("treeDigest"):
            digest = expected["treeDigest"]
            assert newest_digest(server) == (int(digest["zxid"], 16), digest["version"],
                                             int(digest["value"], 16))
        if "sessions" in expected:
            sessions = set(re.findall(r"0x[0-9a-f]+", sessions_of(server.four_letter("dump"))))
            assert sessions == {session["id"] for session in expected["sessions"]}
        assert_same(dump_of(server), expected_tree(expected), folder)
        # And it goes on: a write, a crash, a start.
        with Super(server) as client:
            client.create("/after", b"golden")
            assert client.zxid > zxid
        tree = dump_of(server)
        server.restart(crash=True)
        assert_same(dump_of(server), tree, f"{folder} after a crash")
    finally:
        server.close()


def sessions_of(dump):
    """The part of `dump` between the sessions and the ephemerals."""
    return dump[:dump.index("ephemeral nodes dump")]


REFUSALS = {"3.9.3-bad-crc-last": "log.1", "3.9.3-bad-crc-middle": "log.1",
            "3.9.3-short-header-last-log": "log.1000", "3.9.3-no-snapshot": "snapshot"}


def assert_refusal_names_the_file(server, folder):
    log = server.log_text()
    assert re.search(rf"{re.escape(REFUSALS[folder])}\b", log), f"the damage is not named:\n{log}"


def test_every_refusal_has_a_file_to_name():
    assert set(REFUSALS) == {folder for folder in FIXTURE_FOLDERS
                             if not expected_of(folder)["starts"]}
