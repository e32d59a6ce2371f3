"""Sessions belong to the ensemble, not to the server that a client is connected to."""
import time

import pytest

import wire
from ensemble import TICK_MILLISECONDS
from harness import wait_until

TICK = TICK_MILLISECONDS / 1000
SESSIONMOVED = -118


def sync(client):
    client.ask("sync", wire.path_only("/"))


def wait_gone_everywhere(members, path, seconds):
    """Waits until no member has the znode."""
    for member in members:
        with member.session() as client:
            wait_until(lambda: client.exists(path) is None, seconds, f"{path} is gone on {member!r}")
            client.close_session()


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_ephemerals_of_a_lost_client(trio, role):
    """The leader ends a session that no server hears of any more, and not before."""
    member = trio.leader if role == "leader" else trio.followers[0]
    client = member.session(timeout=1500)
    client.create("/lost", flags=wire.EPHEMERAL)
    last_heard = time.monotonic()
    client.abort()
    for other in trio:
        with other.session() as reader:
            sync(reader)
            assert reader.exists("/lost").ephemeralOwner == client.session_id
            reader.close_session()
    wait_gone_everywhere(trio, "/lost", 10)
    assert 1.5 - TICK < time.monotonic() - last_heard < 1.5 + 4 * TICK + 1
    for other in trio:
        with other.session(session=client) as again:
            assert again.refused, "its session is over on all servers"


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_closing_removes_ephemerals_everywhere(trio, role):
    member = trio.leader if role == "leader" else trio.followers[0]
    with member.session() as owner:
        for index in range(3):
            owner.create(f"/closed-{index}", flags=wire.EPHEMERAL)
        watchers = [other.session() for other in trio]
        for watcher in watchers:
            sync(watcher)
            for index in range(3):
                assert watcher.exists(f"/closed-{index}", watch=True)
        owner.close_session()
        for watcher in watchers:
            events = {watcher.wait_event()[1:] for _ in range(3)}
            assert events == {(wire.DELETED, wire.SYNC_CONNECTED, f"/closed-{index}")
                              for index in range(3)}
            watcher.close_session()


def test_pings_to_a_follower_keep_a_session_alive(trio):
    """Followers tell the leader whom they heard of; the leader decides who is gone."""
    with trio.followers[0].session(timeout=1200) as client, trio.leader.session() as reader:
        client.create("/pinged", flags=wire.EPHEMERAL)
        deadline = time.monotonic() + 4 * 1.2
        while time.monotonic() < deadline:
            client.ping()
            time.sleep(0.3)  # the pace of pings
        assert reader.exists("/pinged") is not None
        client.close_session()
        reader.close_session()


def test_a_session_moves_to_another_server(trio):
    """Its ephemerals stay, the server it left takes no more writes from it."""
    first, second = trio.followers
    with first.session() as old, trio.leader.session() as reader:
        old.create("/moving", flags=wire.EPHEMERAL)
        with second.session(session=old) as new:
            assert (new.session_id, new.password) == (old.session_id, old.password)
            sync(new)
            assert new.exists("/moving").ephemeralOwner == new.session_id
            new.create("/moving-2", flags=wire.EPHEMERAL)
            try:
                assert old.error("create", wire.create("/moving-3")) == SESSIONMOVED
            except wire.Closed:
                pass  # The old server may have noticed by itself.
            sync(reader)
            assert reader.exists("/moving-3") is None
            with trio.leader.session(session=new) as third:
                assert not third.refused
                assert {"moving", "moving-2"} <= set(third.children("/"))
                third.close_session()
        sync(reader)
        assert not {"moving", "moving-2"} & set(reader.children("/"))
        reader.close_session()


def test_a_leader_hears_no_more_of_who_has_left_it(trio):
    """Not even reads: what it shows would be older than what the client has seen elsewhere."""
    with trio.leader.session() as old, trio.followers[0].session(session=old) as new:
        sync(new)
        with pytest.raises(wire.Closed):
            old.get("/")
        new.close_session()


def test_a_multi_of_who_has_left_is_not_answered(trio):
    """The error is inside it; it ends the connection like that of any other write."""
    first, second = trio.followers
    with first.session() as old, second.session(session=old) as new:
        sync(new)
        with pytest.raises(wire.Closed):
            old.multi(("create", wire.create("/left")), ("create", wire.create("/left-2")))
        assert new.exists("/left") is None
        new.close_session()


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_replies_belong_to_requests_of_their_connection(trio, role):
    """Clients may count anew on each connection, while writes of the last one are on their way."""
    member = trio.leader if role == "leader" else trio.followers[0]
    with member.session() as first:
        previous = first
        for index in range(20):
            previous.send("create", wire.create(f"/{role}-{index}-unheard"), xid=7)
            following = wire.Connection(member.address)
            following.send_bytes(
                wire.connect_request(20_000, first.session_id, first.password)
                + wire.request(7, "create", wire.create(f"/{role}-{index}-heard")))
            assert wire.decode_connected(following.receive_frame()).timeout == 20_000
            reply = wire.Decoder(following.receive_frame())
            assert (reply.int(), reply.long() > 0, reply.int()) == (7, True, 0)
            assert reply.string() == f"/{role}-{index}-heard"
            previous.close()
            following.close()
            previous = member.session(session=first)
        sync(previous)
        created = [path for path in previous.children("/") if path.startswith(f"{role}-")]
        assert len(created) > 20, "no write was left on its way"
        for path in created:
            previous.delete(f"/{path}")
        previous.close_session()


def test_one_of_two_that_come_back_at_once_gets_the_session(trio):
    """While the leader is still asked about the first."""
    member = next((member for member in trio.followers if member.kind == "aviary"), None)
    if member is None:
        pytest.skip("which of them is a matter of time; that it is one is a promise of ours")

    def answers(connection):
        try:
            assert wire.decode_connected(connection.receive_frame()).session_id == client.session_id
            connection.send_bytes(wire.request(wire.PING_XID, "ping"))
            return bool(connection.receive_frame())
        except wire.Closed:
            return False

    with trio.leader.session() as client:
        for _ in range(5):
            request = wire.connect_request(20_000, client.session_id, client.password)
            with wire.Connection(member.address) as one, wire.Connection(member.address) as two:
                one.send_bytes(request)
                two.send_bytes(request)
                assert [answers(one), answers(two)].count(True) == 1
        with trio.leader.session(session=client) as back:
            back.close_session()


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_timeout_is_negotiated_anew(trio, role):
    """Whenever its client comes back; the session then lives by that."""
    member = trio.leader if role == "leader" else trio.followers[0]
    with member.session(timeout=60_000) as long:
        long.create("/renewed", flags=wire.EPHEMERAL)
        long.abort()
    with member.session(timeout=1000, session=long) as short:
        assert short.timeout == 1000
        # Learners may still tell the leader of the time when it was created.
        deadline = time.monotonic() + 5 * TICK
        while time.monotonic() < deadline:
            short.ping()
            time.sleep(TICK / 2)  # the pace of pings
        short.abort()
    wait_gone_everywhere(trio, "/renewed", 10)


def test_a_move_with_watches(trio):
    """What changed while the client was between two servers reaches it after the move."""
    first, second = trio.followers
    with first.session() as old, trio.leader.session() as writer:
        for path in ("/kept", "/changed", "/ended"):
            old.create(path)
        seen = old.call("sync", wire.path_only("/")).zxid
        old.abort()
        writer.set("/changed", b"meanwhile")
        writer.delete("/ended")
        zxid = writer.call("create", wire.create("/begun")).zxid
        with second.session() as other:
            sync(other)
            assert other.exists("/begun").czxid == zxid
            other.close_session()
        with second.session(session=old, last_zxid=seen) as new:
            reply = new.call("setWatches", wire.set_watches(
                seen, data=["/kept", "/changed", "/ended"], exist=["/begun", "/never"]),
                wire.SET_WATCHES_XID)
            assert reply.error == 0
            assert {event[1:] for event in new.take_events()} == {
                (wire.CHANGED, wire.SYNC_CONNECTED, "/changed"),
                (wire.DELETED, wire.SYNC_CONNECTED, "/ended"),
                (wire.CREATED, wire.SYNC_CONNECTED, "/begun")}
            writer.set("/kept", b"now")
            assert new.wait_event()[1:] == (wire.CHANGED, wire.SYNC_CONNECTED, "/kept")
            for path in ("/kept", "/changed", "/begun"):
                writer.delete(path)
            new.close_session()
        writer.close_session()


def test_a_wrong_password_opens_no_session_anywhere(trio):
    with trio.followers[0].session() as owner:
        for member in trio.others(trio.followers[0]):
            with member.session(session_id=owner.session_id, password=b"\1" * 16) as thief:
                assert thief.refused
            with member.session(session_id=owner.session_id + 1,
                                password=wire.session_password(owner.session_id + 1)) as thief:
                assert thief.refused, "a session that nobody opened"
        owner.create("/unharmed")
        owner.delete("/unharmed")
        owner.close_session()


def test_session_ids_are_unique_and_name_their_server(trio):
    sessions = [(member, member.session()) for member in trio for _ in range(10)]
    ids = [client.session_id for _, client in sessions]
    assert len(set(ids)) == len(ids)
    for member, client in sessions:
        assert client.session_id >> 56 == member.id
        assert client.password == wire.session_password(client.session_id)
        client.close_session()


def test_a_session_survives_its_leader(make_ensemble):
    """Both that of a client of the leader and that of a client of a follower, with their ephemerals."""
    ensemble = make_ensemble(3, leader=3)
    leader, follower = ensemble.leader, ensemble.followers[0]
    clients = [member.session(timeout=10_000) for member in (leader, follower)]
    for client in clients:
        client.create(f"/of-{client.session_id:x}", flags=wire.EPHEMERAL)
    leader.kill()
    clients[1].wait_closed()
    ensemble.wait_formed()
    for client in clients:
        for member in ensemble.others():
            with member.session(timeout=10_000, session=client) as again:
                assert not again.refused
                again.create(f"/of-{client.session_id:x}-{member.id}", flags=wire.EPHEMERAL)
    tree = ensemble.check_trees()
    for client in clients:
        owned = {path for path, node in tree.items() if node.stat.ephemeralOwner == client.session_id}
        assert owned == {f"/of-{client.session_id:x}"} | {
            f"/of-{client.session_id:x}-{member.id}" for member in ensemble.others()}
    leader.start()
    ensemble.wait_formed()
    with leader.session(session=clients[0]) as again:
        assert not again.refused
        again.close_session()
    tree = ensemble.check_trees()
    assert f"/of-{clients[0].session_id:x}" not in tree
    assert f"/of-{clients[1].session_id:x}" in tree


def test_a_lost_client_s_session_ends_under_the_next_leader(make_ensemble):
    """The new leader knows of the session only from its tree."""
    ensemble = make_ensemble(3, leader=3)
    client = ensemble.followers[0].session(timeout=2000)
    client.create("/orphan", flags=wire.EPHEMERAL)
    ensemble.check_trees()
    ensemble.leader.kill()
    client.abort()
    ensemble.wait_formed()
    formed_at = time.monotonic()
    wait_gone_everywhere(ensemble.others(), "/orphan", 10)
    assert time.monotonic() - formed_at < 2 + 4 * TICK + 1


def test_all_sessions_survive_a_restart_of_all(make_ensemble):
    ensemble = make_ensemble(3)
    clients = [member.session(timeout=30_000) for member in ensemble]
    for client in clients:
        client.create("/survivor-", flags=wire.EPHEMERAL_SEQUENTIAL)
    ensemble.kill_all()
    ensemble.start()
    tree = ensemble.check_trees()
    assert {node.stat.ephemeralOwner for node in tree.values()} - {0} == \
        {client.session_id for client in clients}
    for member, client in zip(reversed(ensemble.members), clients):
        with member.session(session=client) as again:
            assert not again.refused
            again.close_session()
    assert not any(node.stat.ephemeralOwner for node in ensemble.check_trees().values())


def test_ephemerals_cost_no_session_that_is_closing(trio):
    """A create right behind the close of the session leaves nothing."""
    for member in trio:
        with member.session() as client:
            client.create("/closing", flags=wire.EPHEMERAL)
            client.send("closeSession")
            client.send("create", wire.create("/behind", flags=wire.EPHEMERAL))
            assert client.reply().error == 0
            try:
                assert client.reply().error == wire.SESSIONEXPIRED
            except wire.Closed:
                pass  # It may end the connection behind the reply to the close.
    tree = trio.check_trees()
    assert not {"/closing", "/behind"} & set(tree)


def test_a_leader_that_leaves_clients_to_others(make_ensemble):
    """With leaderServes=no it takes no connection; no session ends of that."""
    ensemble = make_ensemble(3, start=False, config={"leaderServes": "no"})
    if ensemble[3].kind == "apache":
        pytest.skip("such a leader of the other kind answers no words, so it cannot be found")
    ensemble.start(leader=3)
    client = ensemble.followers[0].session()
    client.create("/served", flags=wire.EPHEMERAL)
    for arguments in ({}, {"session": client}):
        with pytest.raises(wire.Closed):
            ensemble.leader.session(**arguments)
    client.ping()
    with ensemble.followers[1].session(session=client) as moved:
        assert moved.exists("/served").ephemeralOwner == client.session_id
        ensemble.leader.kill()
        moved.wait_closed()
        if "apache" in (member.kind for member in ensemble.members[:2]):
            return  # One of the other kind may lead now.
        ensemble.wait_formed()
        with pytest.raises(wire.Closed):
            ensemble.leader.session(session=moved)
        with ensemble.followers[0].session(session=moved) as again:
            assert again.exists("/served").ephemeralOwner == client.session_id
            again.close_session()
