"""Sessions that only one server knows, until they need to be known by all."""
import pytest

import wire
from harness import wait_until

EPHEMERALONLOCALSESSION = -120


@pytest.fixture(scope="module")
def upgrading(make_shared_ensemble):
    """Three servers and an observer."""
    return make_shared_ensemble(4, leader=3, observers=1, config={
        "localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"})


@pytest.fixture(params=["leader", "follower", "observer"])
def member(request, upgrading):
    return upgrading.with_role(request.param)[0]


def zxid(member):
    return next(line for line in member.four_letter("srvr").splitlines() if line.startswith("Zxid"))


def sessions(member):
    return member.metric("local_sessions"), member.metric("global_sessions")


def test_a_local_session_costs_no_transaction(upgrading, member):
    before = zxid(member)
    with member.session() as client:
        assert sessions(member) == (1, 0)
        assert all(sessions(other) == (0, 0) for other in upgrading.others(member))
        assert client.children("/")
        client.close_session()
    assert sessions(member) == (0, 0)
    assert zxid(member) == before


def test_a_local_session_writes(upgrading, member):
    with member.session() as client:
        client.create("/local")
        client.set("/local", b"1")
        client.delete("/local")
        assert sessions(member) == (1, 0)
        client.close_session()
    upgrading.check_trees()


@pytest.mark.parametrize("how", ["create", "multi"])
def test_an_ephemeral_makes_it_global(upgrading, member, how):
    with member.session() as client:
        if how == "create":
            client.create("/upgraded", flags=wire.EPHEMERAL)
        else:
            client.multi(("create", wire.create("/upgraded", flags=wire.EPHEMERAL)),
                         ("create", wire.create("/beside")), ("delete", wire.path_version("/beside")))
        assert sessions(member) == (0, 1)
        for other in upgrading.others(member):
            wait_until(lambda: sessions(other) == (0, 1), what="the session on the others")
            with other.session() as reader:
                reader.ask("sync", wire.path_only("/"))
                assert reader.exists("/upgraded").ephemeralOwner == client.session_id
                reader.close_session()
            # It is of the ensemble now: it may move.
            with other.session(session=client) as moved:
                assert not moved.refused
        with member.session(session=client) as back:
            back.close_session()
    assert "/upgraded" not in upgrading.check_trees()
    assert all(sessions(other) == (0, 0) for other in upgrading)


def test_an_upgrade_keeps_the_order(upgrading, member):
    """Writes before it, the write that needs it, what follows; all sent at once."""
    with member.session() as client:
        sent = [client.send("create", wire.create("/order")),
                client.send("create", wire.create("/order/e", flags=wire.EPHEMERAL)),
                client.send("create2", wire.create("/order/e-", flags=wire.EPHEMERAL_SEQUENTIAL)),
                client.send("getChildren", wire.path_watch("/order")),
                client.send("delete", wire.path_version("/order/e")),
                client.send("closeSession")]
        replies = [client.reply() for _ in sent]
        assert [(reply.xid, reply.error) for reply in replies] == [(xid, 0) for xid in sent]
        assert sorted(wire.Decoder(replies[3].body).strings()) == ["e", "e-0000000001"]
        client.wait_closed()
    assert sessions(member) == (0, 0)
    with member.session() as client:
        assert client.children("/order") == []
        client.delete("/order")
        client.close_session()


def test_closing_waits_for_the_writes_in_front_of_it(upgrading, member):
    with member.session() as client:
        sent = [client.send("create", wire.create("/last")), client.send("getData", wire.path_watch("/last")),
                client.send("delete", wire.path_version("/last")), client.send("closeSession")]
        for xid in sent:
            reply = client.reply()
            assert (reply.xid, reply.error) == (xid, 0)
        client.wait_closed()
    assert sessions(member) == (0, 0)


def test_what_nobody_owns_needs_no_global_session(upgrading, member):
    """Containers and TTL znodes end by themselves."""
    with member.session() as client:
        client.ask("createContainer", wire.create("/container", flags=wire.CONTAINER))
        client.ask("createTTL", wire.create_ttl("/ttl"))
        for path in ("/container", "/ttl"):
            client.delete(path)
        assert sessions(member) == (1, 0)
        client.close_session()


def test_a_local_session_cannot_move(upgrading, member):
    with member.session() as client:
        for other in upgrading.others(member):
            with other.session(session=client) as moved:
                assert moved.refused
        client.close_session()


def test_a_local_session_returns_to_its_server(upgrading, member):
    with member.session() as client:
        client.abort()
        with member.session(session=client) as again:
            assert not again.refused
            assert sessions(member) == (1, 0)
            again.close_session()


def test_local_sessions_end_by_time(upgrading, member):
    with member.session(timeout=600) as client:
        client.abort()
        wait_until(lambda: sessions(member) == (0, 0), 5, "its end")
        with member.session(session=client) as again:
            assert again.refused


def test_an_upgraded_session_ends_by_time(upgrading, member):
    """On the leader's word, everywhere."""
    with member.session(timeout=1000) as client:
        client.create("/forgotten", flags=wire.EPHEMERAL)
        client.abort()
        for other in upgrading:
            wait_until(lambda: sessions(other) == (0, 0), 10, "its end")
    assert "/forgotten" not in upgrading.check_trees()


def test_local_sessions_end_with_the_role(make_ensemble):
    """The server may come back as another; a global session of the same client's goes on."""
    ensemble = make_ensemble(3, leader=3, config={"localSessionsEnabled": "true",
                                                  "localSessionsUpgradingEnabled": "true"})
    member = ensemble.followers[0]
    local, upgraded = member.session(), member.session()
    upgraded.create("/upgraded", flags=wire.EPHEMERAL)
    ensemble.leader.kill()
    for client in (local, upgraded):
        client.wait_closed()
    ensemble.wait_formed()
    assert sessions(member) == (0, 1)
    with member.session(session=local) as again:
        assert again.refused
    with member.session(session=upgraded) as again:
        assert again.exists("/upgraded").ephemeralOwner == upgraded.session_id
        again.close_session()


def test_without_upgrading(make_ensemble):
    """Such a session writes what it likes, but owns nothing."""
    ensemble = make_ensemble(3, leader=3, config={"localSessionsEnabled": "true"})
    for member in (ensemble.leader, ensemble.followers[0]):
        with member.session() as client:
            assert client.error("create", wire.create("/owned", flags=wire.EPHEMERAL)) == \
                EPHEMERALONLOCALSESSION
            # A leader knows why its own client's session will not do, but not a learner's.
            error = EPHEMERALONLOCALSESSION if member is ensemble.leader else wire.SESSIONEXPIRED
            results = client.multi(("create", wire.create("/beside")),
                                   ("create", wire.create("/owned", flags=wire.EPHEMERAL)),
                                   ("create", wire.create("/behind")))
            assert [result[1] for result in results] == [0, error, wire.RUNTIMEINCONSISTENCY]
            client.create("/plain")
            client.delete("/plain")
            assert sessions(member) == (1, 0)
            client.close_session()
    assert "/owned" not in ensemble.check_trees()


def test_a_local_session_weighs_less_than_a_global_one(make_ensemble):
    """Each server has the tokens of one global session."""
    ensemble = make_ensemble(3, leader=3, config={
        "localSessionsEnabled": "true", "connection_throttle_weight_enabled": "true",
        "connection_throttle_tokens": 1, "connection_throttle_fill_time": 2**31 - 1})
    for member in (ensemble[1], ensemble[3]):
        for _ in range(3):
            member.session().close_session()
        with pytest.raises(wire.Closed):
            member.session()
