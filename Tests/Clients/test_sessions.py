"""Sessions: negotiation, passwords, re-attaching, expiry, and what a restart keeps of them."""
import json
import time

import pytest

import wire
from harness import FIXTURES, Server, default_kind, wait_until
from wire import Client, Connection

TICK = 0.3
#: Short ticks let sessions die quickly; the bounds in ticks stay Apache's.
QUICK = {"tickTime": int(TICK * 1000), "minSessionTimeout": 600, "maxSessionTimeout": 60000}


@pytest.fixture(scope="module")
def quick():
    with Server(config=QUICK) as server:
        yield server


def attach(server, session, timeout=10000, password=None):
    return Client(server.address, timeout=timeout, session_id=session.session_id,
                  password=session.password if password is None else password)


def wait_gone(server, path, seconds):
    """Waits for the end of a znode; returns how long it took."""
    start = time.monotonic()
    with Client(server.address) as observer:
        wait_until(lambda: observer.exists(path) is None, seconds, f"{path} is gone", every=0.01)
        taken = time.monotonic() - start
        observer.close_session()
    return taken


# The handshake

def test_the_password_is_javas_random():
    """Taken from a recording of 3.9.3."""
    assert wire.session_password(0x1000011440e0000) == recorded_password()


def recorded_password():
    with open(FIXTURES / "client" / "3.9.3" / "session.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    first = next(row for row in rows if row["dir"] == "s2c")
    return wire.decode_connected(bytes.fromhex(first["hex"])[4:]).password


def test_ids_and_passwords(quick):
    clients = [Client(quick.address) for _ in range(20)]
    ids = [client.session_id for client in clients]
    assert len(set(ids)) == len(ids)
    assert all(0 < session_id < 0x7f00000000000000 for session_id in ids), \
        "the high byte is the server's id and must not look like a TTL"
    for client in clients:
        assert client.password == wire.session_password(client.session_id)
        client.close_session()


def test_ids_are_not_used_again_after_a_restart(make_server):
    server = make_server()
    with Client(server.address) as client:
        before = client.session_id
    server.restart(crash=True)
    with Client(server.address) as client:
        assert client.session_id != before


def test_requests_may_follow_the_handshake_at_once(quick):
    """One segment holds the connect request and the first requests of the session."""
    with Connection(quick.address) as connection:
        connection.send_bytes(wire.connect_request() + wire.request(1, "create", wire.create("/at-once"))
                              + wire.request(2, "delete", wire.path_version("/at-once"))
                              + wire.request(3, "closeSession"))
        assert wire.decode_connected(connection.receive_frame()).timeout == 10000
        for xid in (1, 2, 3):
            reply = wire.Decoder(connection.receive_frame())
            assert (reply.int(), reply.long() > 0, reply.int()) == (xid, True, 0)
        connection.wait_closed()


def test_a_handshake_byte_by_byte(quick):
    with Connection(quick.address) as connection:
        for byte in wire.connect_request():
            connection.send_bytes(bytes([byte]))
        assert wire.decode_connected(connection.receive_frame()).timeout == 10000


def test_a_client_that_saw_more_is_turned_away(quick):
    with Connection(quick.address) as connection:
        connection.send_bytes(wire.connect_request(last_zxid=1 << 40))
        connection.wait_closed()
    with Client(quick.address) as client:
        zxid = client.call("create", wire.create("/seen-")).zxid
        client.delete("/seen-")
    with Client(quick.address, last_zxid=zxid) as client:
        assert not client.refused, "a zxid that the server has is no reason"


# Re-attaching

def test_reattach_after_a_lost_connection(quick):
    first = Client(quick.address)
    first.create("/re", flags=wire.EPHEMERAL)
    first.abort()
    with attach(quick, first) as second:
        assert (second.session_id, second.password) == (first.session_id, first.password)
        assert second.exists("/re").ephemeralOwner == first.session_id
        second.close_session()
    with Client(quick.address) as other:
        assert other.exists("/re") is None


def test_reattach_negotiates_the_timeout_anew(make_server):
    server = make_server(config=QUICK)
    first = Client(server.address, timeout=50000)
    first.create("/shorter", flags=wire.EPHEMERAL)
    first.close()
    second = attach(server, first, timeout=900)
    assert second.timeout == 900
    second.close()
    assert wait_gone(server, "/shorter", 0.9 + 2 * TICK + 1) < 0.9 + 2 * TICK + 0.5


def test_moving_closes_the_older_connection(quick):
    with Client(quick.address) as first:
        first.children("/", watch=True)
        with attach(quick, first) as second:
            first.wait_closed()
            second.create("/moved")
            assert second.take_events() == [], "watches stay behind with their connection"
            second.delete("/moved")
            second.close_session()


def test_a_wrong_password_is_refused_but_cuts_the_connection(quick):
    """Apache closes the other connection of the session before it looks at the password."""
    with Client(quick.address) as first:
        with attach(quick, first, password=b"\1" * 16) as wrong:
            assert wrong.connected == (0, 0, 0, wire.NO_PASSWORD, False)
            wrong.wait_closed()
        first.wait_closed()
        with attach(quick, first) as again:
            assert not again.refused, "the session itself is unharmed"
            again.close_session()


@pytest.mark.parametrize("password", [b"", None, b"abc", wire.NO_PASSWORD, b"\1" * 17])
def test_other_passwords_are_refused(quick, password):
    first = Client(quick.address)
    with Connection(quick.address) as connection:
        connection.send_bytes(wire.connect_request(session_id=first.session_id, password=password))
        answer = wire.decode_connected(connection.receive_frame())
        assert (answer.timeout, answer.session_id, answer.password) == (0, 0, wire.NO_PASSWORD)
        connection.wait_closed()
    first.close()


def test_an_unknown_session_is_refused_even_with_its_password(quick):
    unknown = 0x1234567890
    with Client(quick.address, session_id=unknown, password=wire.session_password(unknown)) as client:
        assert client.refused and client.session_id == 0
        client.wait_closed()


def test_reattach_to_a_closed_session_is_refused(quick):
    first = Client(quick.address)
    first.close_session()
    with attach(quick, first) as second:
        assert second.refused
        second.wait_closed()


def test_reattaching_many_times_keeps_one_session(quick):
    first = Client(quick.address)
    first.create("/turns", flags=wire.EPHEMERAL)
    sessions = int(quick.mntr()["zk_global_sessions"])
    for _ in range(30):
        again = attach(quick, first)
        assert again.exists("/turns")
        again.close()
    assert int(quick.mntr()["zk_global_sessions"]) == sessions
    with attach(quick, first) as last:
        last.close_session()


# Ends

def test_closing_removes_ephemerals_and_tells_watchers(quick):
    with Client(quick.address) as watcher, Client(quick.address) as owner:
        for index in range(3):
            owner.create(f"/closing-{index}", flags=wire.EPHEMERAL)
            assert watcher.exists(f"/closing-{index}", watch=True)
        watcher.children("/", watch=True)
        zxid = owner.call("closeSession").zxid
        owner.wait_closed()
        events = watcher.take_events()
        deleted = sorted(event.path for event in events if event.type == wire.DELETED)
        assert deleted == [f"/closing-{index}" for index in range(3)]
        assert [event.path for event in events if event.type == wire.CHILD] == ["/"]
        if default_kind() != "apache":
            assert {event.zxid for event in events} == {zxid}
        watcher.close_session()


def test_nothing_is_answered_behind_a_close(quick):
    with Client(quick.address) as client:
        client.send_bytes(wire.request(1, "create", wire.create("/before-close"))
                          + wire.request(2, "closeSession")
                          + wire.request(3, "create", wire.create("/after-close")))
        assert client.reply().xid == 1 and client.reply().xid == 2
        client.wait_closed()
    with Client(quick.address) as other:
        assert other.exists("/before-close") and other.exists("/after-close") is None
        other.delete("/before-close")


@pytest.mark.parametrize("how", ["silent", "closed", "reset"])
def test_expiry_removes_ephemerals_and_tells_watchers(quick, how):
    """Not before the timeout, and no later than two ticks behind it."""
    timeout = 0.9
    path = f"/dying-{how}"
    with Client(quick.address, timeout=30000) as watcher:
        owner = Client(quick.address, timeout=int(timeout * 1000))
        owner.create(path, flags=wire.EPHEMERAL)
        watcher.exists(path, watch=True)
        owner.ping()
        start = time.monotonic()
        if how == "closed":
            owner.close()
        elif how == "reset":
            owner.abort()
        event = watcher.wait_event(timeout + 2 * TICK + 2)
        taken = time.monotonic() - start
        assert (event.type, event.path) == (wire.DELETED, path)
        assert timeout - 0.05 <= taken <= timeout + 2 * TICK + 0.3, f"{taken:.2f} s"
        if how == "silent":
            owner.wait_closed(2)
        with attach(quick, owner) as late:
            assert late.refused
        watcher.close_session()


def test_pings_keep_a_session(quick):
    with Client(quick.address, timeout=600) as client:
        client.create("/kept", flags=wire.EPHEMERAL)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            client.ping()
            time.sleep(0.2)  # the pace of a client that stays in touch
        assert client.exists("/kept")
        client.close_session()


def test_reads_keep_a_session_too(quick):
    with Client(quick.address, timeout=600) as client:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert client.exists("/")
            time.sleep(0.2)  # the pace of a client that stays in touch
        client.close_session()


def test_many_sessions_expire_together(quick):
    owners = [Client(quick.address, timeout=2000) for _ in range(100)]
    for index, owner in enumerate(owners):
        owner.send("create", wire.create(f"/crowd-{index}", flags=wire.EPHEMERAL))
    for owner in owners:
        owner.reply()
    for owner in owners:
        owner.wait_closed(10)
        owner.close()
    with Client(quick.address) as client:
        assert [name for name in client.children("/") if name.startswith("crowd-")] == []


# Restarts

@pytest.mark.parametrize("crash", [True, False], ids=["kill", "term"])
def test_sessions_and_ephemerals_survive_a_restart(make_server, crash):
    server = make_server()
    client = Client(server.address, timeout=8000)
    client.create("/mine", b"data", flags=wire.EPHEMERAL)
    server.restart(crash=crash)
    with attach(server, client, timeout=8000) as again:
        assert not again.refused
        assert again.session_id == client.session_id and again.password == client.password
        data, stat = again.get("/mine")
        assert data == b"data" and stat.ephemeralOwner == client.session_id
        again.create("/mine-too", flags=wire.EPHEMERAL)
        again.close_session()
    with Client(server.address) as other:
        assert other.children("/") == ["zookeeper"]


@pytest.mark.parametrize("crash", [True, False], ids=["kill", "term"])
def test_after_a_restart_a_session_gets_its_timeout_again(make_server, crash):
    server = make_server(config=QUICK)
    timeout = 3.6
    client = Client(server.address, timeout=int(timeout * 1000))
    client.create("/orphan", flags=wire.EPHEMERAL)
    client.close()
    server.restart(crash=crash)
    with Client(server.address) as other:
        assert other.exists("/orphan"), "it lives until its session expires"
    assert wait_gone(server, "/orphan", timeout + 2 * TICK + 2) > timeout / 2
    with attach(server, client) as late:
        assert late.refused


@pytest.mark.parametrize("crash", [True, False], ids=["kill", "term"])
def test_an_ended_session_stays_ended(make_server, crash):
    server = make_server(config=QUICK)
    closed = Client(server.address)
    closed.create("/closed", flags=wire.EPHEMERAL)
    closed.close_session()
    expired = Client(server.address, timeout=600)
    expired.create("/expired", flags=wire.EPHEMERAL)
    expired.wait_closed(5)
    server.restart(crash=crash)
    for session in (closed, expired):
        with attach(server, session) as late:
            assert late.refused
            late.wait_closed()
    with Client(server.address) as other:
        assert other.children("/") == ["zookeeper"]


def test_a_restart_with_many_sessions(make_server):
    server = make_server()
    clients = [Client(server.address, timeout=20000) for _ in range(50)]
    for index, client in enumerate(clients):
        client.create(f"/e{index}", flags=wire.EPHEMERAL)
    server.restart(crash=True)
    for index, client in enumerate(clients):
        with attach(server, client) as again:
            assert again.exists(f"/e{index}").ephemeralOwner == client.session_id
            again.close_session()
    with Client(server.address) as other:
        assert other.children("/") == ["zookeeper"]


def test_watches_are_set_again_after_a_restart(make_server):
    server = make_server()
    with Client(server.address) as client:
        client.create("/w")
        client.get("/w", watch=True)
        seen = client.zxid
    server.restart(crash=True)
    with attach(server, client) as again, Client(server.address) as writer:
        reply = again.call("setWatches", wire.set_watches(seen, data=["/w"], child=["/"]),
                           xid=wire.SET_WATCHES_XID)
        assert reply.error == 0 and again.events == []
        writer.set("/w", b"1")
        assert [(event.type, event.path) for event in again.take_events()] == [(wire.CHANGED, "/w")]
        writer.set("/w", b"2")
        assert again.take_events() == []
        reply = again.call("setWatches", wire.set_watches(seen, data=["/w"]), xid=wire.SET_WATCHES_XID)
        assert [(event.type, event.path) for event in again.events] == [(wire.CHANGED, "/w")], \
            "what changed since is told at once, in front of the reply"
