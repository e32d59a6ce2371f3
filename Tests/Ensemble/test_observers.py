"""Observers hold all, serve clients, and have no voice."""
import pytest

import wire
from ensemble import chosen_kinds, difference, listening_ports
from harness import wait_until
from journal import Load


@pytest.fixture(scope="module")
def observed(make_shared_ensemble):
    """Three participants and an observer with the greatest id; server 3 leads."""
    return make_shared_ensemble(4, leader=3, observers=1)


def test_an_observer_serves(observed):
    observer, leader = observed[4], observed.leader
    assert observer.role() == "observer"
    assert observer.mntr()["zk_peer_state"] == "observing - broadcast"
    assert leader.metric("synced_observers") == 1 and leader.metric("synced_followers") == 2
    with observer.session() as client, leader.session() as other:
        client.create("/by-observer", b"1", flags=wire.EPHEMERAL)
        other.ask("sync", wire.path_only("/"))
        assert other.get("/by-observer")[0] == b"1"
        client.get("/by-observer", watch=True)
        other.set("/by-observer", b"2")
        assert client.wait_event()[1:] == (wire.CHANGED, wire.SYNC_CONNECTED, "/by-observer")
        client.ask("sync", wire.path_only("/"))
        assert client.get("/by-observer")[0] == b"2"
        client.close_session()
        assert other.exists("/by-observer") is None
        other.close_session()
    observed.check_trees()


def test_a_session_moves_to_an_observer_and_back(observed):
    with observed.followers[0].session() as first:
        first.create("/roaming", flags=wire.EPHEMERAL)
        with observed[4].session(session=first) as second:
            assert not second.refused
            second.ask("sync", wire.path_only("/"))
            assert second.exists("/roaming").ephemeralOwner == first.session_id
            second.create("/roaming-2", flags=wire.EPHEMERAL)
            with observed.leader.session(session=second) as third:
                third.close_session()
    assert not {"/roaming", "/roaming-2"} & set(observed.check_trees())


def test_pings_to_an_observer_count(observed):
    """The leader hears through it whose clients live."""
    with observed[4].session(timeout=1000) as client:
        client.create("/pinged", flags=wire.EPHEMERAL)
        stat = client.exists("/pinged")
        with observed.leader.session(timeout=1000) as doomed:
            doomed.create("/doomed", flags=wire.EPHEMERAL)
        with observed.leader.session() as reader:
            # Its session is as old and as short, but nobody pings: with it the other would go.
            wait_until(lambda: client.ping() and reader.exists("/doomed") is None, 10, "an expiry",
                       every=0.2)
            assert reader.exists("/pinged") == stat
            reader.close_session()
        client.close_session()


@pytest.mark.slow
def test_an_observer_is_no_part_of_a_quorum(make_ensemble):
    """Two of three participants are gone: the observer, as the third of four, does not help."""
    ensemble = make_ensemble(4, leader=3, observers=1)
    with ensemble[4].session() as client:
        client.create("/before")
        for follower in ensemble.followers:
            follower.kill()
        client.wait_closed()
    ensemble.check_unserved()
    ensemble[1].start()
    ensemble.wait_formed()
    assert ensemble.leader is ensemble[3]
    ensemble.leader.kill()
    ensemble.check_unserved()
    ensemble[2].start()
    # Of servers 1 and 2 and the observer 4, equally informed: the observer is not elected.
    assert ensemble.wait_formed() in (ensemble[1], ensemble[2])
    assert ensemble[4].role() == "observer"
    ensemble[3].start()
    ensemble.wait_formed()
    assert "/before" in ensemble.check_trees()


def test_the_server_lines_decide_who_observes(make_ensemble):
    """Not peerType, where the two disagree."""
    ensemble = make_ensemble(4, start=False, observers=1)
    del ensemble[4].config["peerType"]
    ensemble[1].config["peerType"] = "observer"
    ensemble.start()
    assert ensemble[4].role() == "observer"
    assert ensemble[1].role() in ("leader", "follower")


def test_an_observer_loses_its_disk(make_ensemble):
    ensemble = make_ensemble(4, leader=3, observers=1)
    observer = ensemble[4]
    with Load(ensemble.members[:3], writers=2) as load:
        observer.kill()
        observer.wipe()
        observer.start()
        ensemble.wait_formed()
        load.wait_progress()
    tree = ensemble.check_trees()
    load.check(tree)
    observer.kill()
    observer.start()
    ensemble.wait_formed()
    assert not difference(tree, ensemble.check_trees())


# Observer masters

def test_observers_of_followers(make_ensemble):
    """With observerMasterPort a follower feeds the observer; another takes over when it dies."""
    if "aviary" in chosen_kinds(4):
        pytest.skip("ours serve observers by the leader only, and warn of the key")
    [port] = listening_ports(1)
    ensemble = make_ensemble(4, leader=3, observers=1, own_hosts=True,
                             config={"observerMasterPort": port})
    observer = ensemble[4]
    with Load([observer], writers=2) as load:
        masters = []
        for _ in range(2):
            master = ensemble[int(observer.mntr()["zk_observer_master_id"])]
            assert master in ensemble.followers
            assert ensemble.leader.metric("synced_observers") == 0
            masters.append(master)
            master.kill()
            load.wait_progress()
            ensemble.wait_formed()
            assert ensemble.leader.id == 3
            master.start()
            ensemble.wait_formed()
        assert masters[0] is not masters[1], "who died is replaced by the other"
        load.wait_progress()
    tree = ensemble.check_trees()
    load.check(tree)
    assert load.sessions_lost == 0, load
