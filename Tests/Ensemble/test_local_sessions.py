"""Sessions that only one server knows, until they need to be known by all."""
import pytest

import wire
from harness import wait_until

EPHEMERALONLOCALSESSION = -120


@pytest.fixture(scope="module")
def upgrading(make_shared_ensemble):
    return make_shared_ensemble(3, leader=3, config={"localSessionsEnabled": "true",
                                                     "localSessionsUpgradingEnabled": "true"})


@pytest.fixture(params=["leader", "follower"])
def member(request, upgrading):
    return upgrading.leader if request.param == "leader" else upgrading.followers[0]


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


def test_without_upgrading(make_ensemble):
    """Such a session writes what it likes, but owns nothing."""
    ensemble = make_ensemble(3, leader=3, config={"localSessionsEnabled": "true"})
    for member in (ensemble.leader, ensemble.followers[0]):
        with member.session() as client:
            assert client.error("create", wire.create("/owned", flags=wire.EPHEMERAL)) == \
                EPHEMERALONLOCALSESSION
            client.create("/plain")
            client.delete("/plain")
            assert sessions(member) == (1, 0)
            client.close_session()
    assert "/owned" not in ensemble.check_trees()
