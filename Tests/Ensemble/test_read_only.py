"""A server without a quorum goes on for clients that only read, if it may."""
import time

import pytest
from kazoo.client import KeeperState
from kazoo.exceptions import NotReadOnlyCallError

import wire
from harness import wait_until

NOTREADONLY = -119


@pytest.fixture(scope="module")
def partial(make_shared_ensemble):
    """Server 1 of three, after the other two died; it has /data."""
    ensemble = make_shared_ensemble(3, leader=3, config={
        "readonlymode.enabled": "true", "localSessionsEnabled": "true",
        "localSessionsUpgradingEnabled": "true"})
    with ensemble[1].session() as client:
        client.create("/data", b"old")
        client.close_session()
    ensemble[2].kill()
    ensemble[3].kill()
    wait_until(lambda: ensemble[1].role() == "read-only", 15, "the mode for readers")
    return ensemble


def test_words(partial):
    answer = partial[1].four_letter("srvr")
    assert "READ-ONLY mode; serving only read-only clients\n" in answer
    assert partial[1].four_letter("isro") == "ro"
    assert partial[1].mntr()["zk_server_state"] == "read-only"


def test_readers_are_served(partial):
    with partial[1].session(read_only=True) as client:
        assert client.connected.read_only is True
        assert client.get("/data")[0] == b"old"
        assert client.children("/")
        assert client.exists("/none", watch=True) is None
        client.ping()


@pytest.mark.parametrize("operation, body", [
    ("create", wire.create("/x")), ("setData", wire.set_data("/data", b"new")),
    ("delete", wire.path_version("/data")), ("sync", wire.path_only("/")),
    ("setACL", wire.set_acl("/data", wire.OPEN_ACL)),
    ("multi", wire.multi(("create", wire.create("/x")))),
    ("create2", wire.create("/x"))])
def test_writes_are_refused(partial, operation, body):
    with partial[1].session(read_only=True) as client:
        assert client.error(operation, body) == NOTREADONLY
        assert client.get("/data")[0] == b"old", "the connection goes on"


@pytest.mark.parametrize("read_only", [False, None], ids=["write", "from before 3.4"])
def test_other_clients_are_turned_away(partial, read_only):
    with wire.Connection(partial[1].address) as connection:
        connection.send_bytes(wire.connect_request(read_only=read_only))
        connection.wait_closed()


def test_sessions_are_of_this_server_and_mode(partial):
    """They come back and end here; whoever is known to others keeps looking for them."""
    with partial[1].session(read_only=True) as client:
        client.abort()
        with partial[1].session(session=client, read_only=True) as again:
            assert not again.refused
            assert again.connected.read_only is True
            again.close_session()
        with partial[1].session(session=client, read_only=True) as late:
            assert late.refused
    with partial[1].session(timeout=600, read_only=True) as client:
        client.wait_closed()


def test_global_sessions_and_their_ephemerals_wait(make_ensemble):
    ensemble = make_ensemble(3, leader=3, config={"readonlymode.enabled": "true"})
    owner = ensemble[1].session(timeout=60_000)
    owner.create("/owned", flags=wire.EPHEMERAL)
    zxid = owner.zxid
    ensemble[2].kill()
    ensemble[3].kill()
    wait_until(lambda: ensemble[1].role() == "read-only", 15, "the mode for readers")
    for seen in (zxid, zxid + 1):
        with wire.Connection(ensemble[1].address) as connection:
            connection.send_bytes(wire.connect_request(
                10_000, owner.session_id, owner.password, seen, read_only=True))
            connection.wait_closed()
    if ensemble[1].kind == "aviary":
        # New clients are served nevertheless, with sessions of no other use.
        with ensemble[1].session(read_only=True) as client:
            assert client.exists("/owned").ephemeralOwner == owner.session_id
            client.close_session()
    ensemble.start_members([ensemble[2], ensemble[3]])
    with ensemble[1].session(session=owner) as back:
        assert not back.refused
        assert back.exists("/owned").ephemeralOwner == owner.session_id
        back.close_session()


def test_a_full_server_does_not_call_itself_read_only(make_ensemble):
    ensemble = make_ensemble(3, config={"readonlymode.enabled": "true"})
    for member in ensemble:
        assert member.four_letter("isro") == "rw"
        with member.session(read_only=True) as client:
            assert client.connected.read_only is False
            client.create("/w")
            client.delete("/w")
            client.close_session()


def test_a_kazoo_client_reads_on_and_writes_later(make_ensemble):
    """It is told which it may do, and changes to a server with a quorum when there is one."""
    ensemble = make_ensemble(3, leader=3, config={
        "readonlymode.enabled": "true", "localSessionsEnabled": "true",
        "localSessionsUpgradingEnabled": "true"})
    client = ensemble.kazoo(read_only=True)
    client.create("/data", b"old")
    client.sync("/data")
    ensemble.check_trees()
    ensemble[2].kill()
    ensemble[3].kill()
    wait_until(lambda: client.client_state == KeeperState.CONNECTED_RO, 20, "a read-only connection")
    assert client.get("/data")[0] == b"old"
    with pytest.raises(NotReadOnlyCallError):
        client.set("/data", b"new")
    with ensemble[1].session(read_only=True) as reader:
        ensemble.start_members([ensemble[2], ensemble[3]])
        reader.wait_closed()
        with ensemble[1].session(session=reader) as again:
            assert again.refused, "a session of that mode is nothing any more"
    # The client looks for a full server at its own, growing pace.
    wait_until(lambda: client.client_state == KeeperState.CONNECTED, 60, "a full connection")
    deadline = time.monotonic() + 10
    client.retry(client.set, "/data", b"new")
    assert time.monotonic() < deadline
    assert ensemble.check_trees()["/data"].data == b"new"
