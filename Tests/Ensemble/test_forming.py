"""Servers find each other, and what is written through one is seen through each."""
import pytest

import wire
from ensemble import TICK_MILLISECONDS, comparable
from harness import wait_until


@pytest.fixture(scope="module")
def quintet(make_shared_ensemble):
    return make_shared_ensemble(5, leader=5)


@pytest.fixture(params=["trio", "quintet"])
def ensemble(request):
    return request.getfixturevalue(request.param)


def test_roles(ensemble):
    assert ensemble.leader.id == len(ensemble.members)
    assert len(ensemble.followers) == len(ensemble.members) - 1
    assert ensemble.leader.mntr()["zk_peer_state"] == "leading - broadcast"
    for follower in ensemble.followers:
        assert follower.mntr()["zk_peer_state"] == "following - broadcast"
        assert follower.four_letter("isro") == "rw"


def test_each_server_writes_and_reads(ensemble):
    """A write is seen through another server after a sync there, at once."""
    sessions = [member.session() for member in ensemble]
    for writer in sessions:
        path = writer.create("/each-", b"written", flags=wire.SEQUENTIAL)
        version = writer.set(path, b"again").version
        for reader in sessions:
            reader.ask("sync", wire.path_only(path))
            data, stat = reader.get(path)
            assert (data, stat.version) == (b"again", version)
            assert stat.czxid < stat.mzxid
    names = sessions[0].children("/")
    assert [name for name in names if name.startswith("each-")] == \
        [f"each-{number:010d}" for number in range(len(sessions))], \
        "sequence numbers come from one counter"
    for session in sessions:
        session.delete(f"/each-{sessions.index(session):010d}")
        session.close_session()
    ensemble.check_trees()


def test_what_stands_behind_a_sync_waits_for_it(ensemble):
    """Nothing overtakes a sync: no reply, and no write that a read before it would see."""
    for index, member in enumerate(ensemble):
        with member.session() as session:
            session.create(f"/behind-{index}")
            first = session.last_xid + 1
            for number in range(100):
                session.send("sync", wire.path_only("/"))
                session.send("setData", wire.set_data(f"/behind-{index}", b"%d" % number, number))
                session.send("getData", wire.path_watch(f"/behind-{index}"))
            for number in range(100):
                replies = [session.reply() for _ in range(3)]
                assert [(reply.xid, reply.error) for reply in replies] == \
                    [(first + 3 * number + place, 0) for place in range(3)]
                assert wire.Decoder(replies[2].body).buffer() == b"%d" % number
            session.close_session()


def test_pipelined_writes_keep_their_order(ensemble):
    """Many requests of one session on each server, answered in the order they were sent."""
    count = 200
    sessions = [member.session() for member in ensemble]
    for index, session in enumerate(sessions):
        session.create(f"/order-{index}")
    for index, session in enumerate(sessions):
        session.first = session.last_xid + 1
        for number in range(count):
            session.send("setData", wire.set_data(f"/order-{index}", b"%d" % number, number))
            session.send("getData", wire.path_watch(f"/order-{index}"))
    for session in sessions:
        zxid = 0
        for number in range(count):
            written, read = session.reply(), session.reply()
            assert (written.xid, written.error) == (session.first + 2 * number, 0)
            assert (read.xid, read.error) == (session.first + 2 * number + 1, 0)
            assert written.zxid > zxid
            zxid = written.zxid
            fields = wire.Decoder(read.body)
            assert (fields.buffer(), fields.stat().version) == (b"%d" % number, number + 1), \
                "a session sees its own writes"
    for index, session in enumerate(sessions):
        session.delete(f"/order-{index}")
        session.close_session()


def test_errors_reach_clients_of_all_servers(ensemble):
    for member in ensemble:
        with member.session() as client:
            client.create("/errors")
            for operation, body, error in [
                    ("create", wire.create("/errors"), wire.NODEEXISTS),
                    ("create", wire.create("/none/x"), wire.NONODE),
                    ("delete", wire.path_version("/none"), wire.NONODE),
                    ("setData", wire.set_data("/errors", b"", 7), wire.BADVERSION),
                    ("create", wire.create("/errors/x", acl=()), wire.INVALIDACL),
                    ("delete", wire.path_version("/"), wire.BADARGUMENTS)]:
                assert client.error(operation, body) == error, operation
            results = client.multi(("create", wire.create("/errors/a")),
                                   ("check", wire.path_version("/errors", 3)))
            assert [error for _, error, _ in results] == [0, wire.BADVERSION]
            assert client.exists("/errors/a") is None
            results = client.multi(("create", wire.create("/errors/a")),
                                   ("setData", wire.set_data("/errors", b"m")),
                                   ("delete", wire.path_version("/errors/a")))
            assert [error for _, error, _ in results] == [0, 0, 0]
            client.delete("/errors")
            client.close_session()
    ensemble.check_trees()


def test_the_rights_of_a_follower_s_client_travel(ensemble):
    """The leader checks ACLs with the ids of the connection that a follower holds."""
    acl = ((31, "digest", wire.digest_id("anna:secret")),)
    follower = ensemble.followers[0]
    with follower.session() as anna, follower.session() as other, ensemble.leader.session() as third:
        assert anna.add_auth("digest", b"anna:secret").error == 0
        anna.create("/hers", b"1", acl=acl)
        anna.create("/hers/by-auth", acl=((31, "auth", ""),))
        for stranger in (other, third):
            stranger.ask("sync", wire.path_only("/"))
            assert stranger.error("setData", wire.set_data("/hers", b"2")) == wire.NOAUTH
            assert stranger.error("getData", wire.path_watch("/hers")) == wire.NOAUTH
            assert stranger.error("create", wire.create("/hers/x")) == wire.NOAUTH
        anna.set("/hers", b"2")
        fields = anna.ask("getACL", wire.path_only("/hers/by-auth"))
        assert fields.acl() == [(31, "digest", wire.digest_id("anna:secret"))]
        anna.delete("/hers/by-auth")
        anna.delete("/hers")
        for session in (anna, other, third):
            session.close_session()


@pytest.mark.parametrize("watched, written", [("leader", "follower"), ("follower", "leader"),
                                              ("follower", "other follower")])
def test_watches_across_servers(trio, watched, written):
    members = {"leader": trio.leader, "follower": trio.followers[0],
               "other follower": trio.followers[1]}
    with members[watched].session() as watcher, members[written].session() as writer:
        assert watcher.exists("/watched", watch=True) is None
        writer.create("/watched")
        assert watcher.wait_event()[1:] == (wire.CREATED, wire.SYNC_CONNECTED, "/watched")
        watcher.get("/watched", watch=True)
        watcher.children("/watched", watch=True)
        writer.set("/watched", b"new")
        assert watcher.wait_event()[1:] == (wire.CHANGED, wire.SYNC_CONNECTED, "/watched")
        assert watcher.get("/watched")[0] == b"new", "the event comes before the new data"
        writer.create("/watched/child")
        assert watcher.wait_event()[1:] == (wire.CHILD, wire.SYNC_CONNECTED, "/watched")
        watcher.ask("addWatch", wire.add_watch("/watched", 1))
        writer.delete("/watched/child")
        writer.delete("/watched")
        assert [watcher.wait_event()[1:] for _ in range(2)] == [
            (wire.DELETED, wire.SYNC_CONNECTED, "/watched/child"),
            (wire.DELETED, wire.SYNC_CONNECTED, "/watched")]
        watcher.close_session()
        writer.close_session()


def test_large_values_travel(trio):
    """Nearly a megabyte through a follower to all."""
    data = bytes(range(256)) * 4000
    with trio.followers[0].session() as client:
        client.create("/large", data)
        client.close_session()
    tree = trio.check_trees()
    assert tree["/large"].data == data
    with trio.leader.session() as client:
        client.delete("/large")
        client.close_session()


@pytest.mark.parametrize("role", ["leader", "follower", "observer"])
def test_each_kind_in_each_role(make_ensemble, pair, role):
    """`pair` is (kind of the server in that role, of all others)."""
    one, other = pair
    kinds = [one if role == place else other
             for place in ("follower", "another follower", "leader", "observer")]
    ensemble = make_ensemble(kinds, leader=3, observers=1)
    sessions = [member.session() for member in ensemble]
    for index, session in enumerate(sessions):
        session.create(f"/at-{index}", b"1")
        session.create(f"/at-{index}/child", flags=wire.EPHEMERAL)
        session.multi(("setData", wire.set_data(f"/at-{index}", b"2")),
                      ("create", wire.create("/numbered-", flags=wire.SEQUENTIAL)),
                      ("createTTL", wire.create_ttl(f"/at-{index}/ttl", ttl=3_600_000)))
        session.ask("createContainer", wire.create(f"/at-{index}/container", flags=wire.CONTAINER))
        session.ask("setACL", wire.set_acl(f"/at-{index}/container", ((31, "digest", wire.digest_id(
            "anna:secret")), (1, "world", "anyone"))))
        assert session.error("create", wire.create(f"/at-{index}/container/x")) == wire.NOAUTH
    tree = ensemble.check_trees()
    owners = {node.stat.ephemeralOwner for node in tree.values()} - {0}
    assert owners == {session.session_id for session in sessions}
    assert sum(path.startswith("/numbered-") for path in tree) == len(sessions)
    for session in sessions:
        session.close_session()
    tree = ensemble.check_trees()
    assert not any(node.stat.ephemeralOwner for node in tree.values())


def test_ttl_and_containers_are_removed_everywhere(make_ensemble):
    """By the leader alone, whoever made them."""
    ensemble = make_ensemble(3, leader=3, config={"znode.container.checkIntervalMs": 500})
    with ensemble.followers[0].session() as client, ensemble.followers[1].session() as other:
        client.ask("createTTL", wire.create_ttl("/ttl", ttl=700))
        client.ask("createContainer", wire.create("/container", flags=wire.CONTAINER))
        client.create("/container/child")
        other.ask("sync", wire.path_only("/"))
        assert other.exists("/container/child") and other.exists("/ttl")
        client.delete("/container/child")
        wait_until(lambda: not {"ttl", "container"} & set(other.children("/")), what="their end")
        client.close_session()
        other.close_session()
    ensemble.check_trees()


def test_a_client_from_the_future_is_refused(trio):
    """Who saw more than a server has must not be served by it: it would go back in time."""
    with trio.leader.session() as client:
        zxid = client.call("create", wire.create("/now")).zxid
        client.delete("/now")
        client.close_session()
    for member in trio:
        with wire.Connection(member.address) as connection:
            connection.send_bytes(wire.connect_request(last_zxid=zxid + 1000))
            connection.wait_closed()
        with member.session() as client:
            client.ask("sync", wire.path_only("/"))
            with member.session(last_zxid=zxid) as other:
                assert not other.refused
                other.close_session()
            client.close_session()


def test_a_kazoo_client_of_all(trio):
    """A usual client library, with its recipes, one client for each server."""
    clients = [trio.kazoo(member) for member in trio]
    party = [client.ShallowParty("/party", f"client-{index}") for index, client in enumerate(clients)]
    for member in party:
        member.join()
    for client in clients:
        client.sync("/party")
        assert len(client.get_children("/party")) == 3
    holders = []
    for index, client in enumerate(clients):
        with client.Lock("/lock", f"holder-{index}"):
            holders.append(index)
    assert holders == [0, 1, 2]
    counter = [client.Counter("/counter") for client in clients]
    for each in counter:
        each += 1
    clients[0].sync("/counter")
    assert counter[0].value == 3
    for client in clients:
        client.stop()
    trio.check_trees()


def test_standing_alone_serves_nobody(make_ensemble):
    """One of three is no quorum: no write, no read, no session."""
    ensemble = make_ensemble(3, start=False)
    ensemble[1].start()
    assert "not currently serving" in ensemble[1].wait_answer()
    with wire.Connection(ensemble[1].address) as connection:
        connection.send_bytes(wire.connect_request())
        connection.wait_closed()
    ensemble[2].start()
    assert ensemble.wait_formed() is ensemble[2]
    ensemble[3].start()
    assert ensemble.wait_formed() is ensemble[2], "who joins follows"


def test_the_configuration_is_a_znode(trio):
    """Each server has the members under /zookeeper/config, the same on all."""
    tree = trio.check_trees()
    lines = tree["/zookeeper/config"].data.decode().split("\n")
    assert sorted(lines) == sorted(
        [f"server.{member.id}={member.host}:{member.quorum_port}:{member.election_port}:participant"
         for member in trio] + ["version=0"])
    assert tree["/zookeeper/config"].stat.version == -1
    assert comparable(tree)


def test_session_timeouts_are_bounded_by_ticks(trio):
    for member in trio:
        with member.session(timeout=1) as client:
            assert client.timeout == 2 * TICK_MILLISECONDS
            client.close_session()
        with member.session(timeout=10_000_000) as client:
            assert client.timeout == 60_000
            client.close_session()
