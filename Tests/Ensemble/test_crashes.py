"""kill -9 and SIGSTOP of each role under load: nothing acknowledged is lost, all trees are equal.

A killed process leaves what it wrote in the system's cache; that a reply follows the flush, and not
only the write, is seen by the tests of one server.
"""
import time

import pytest

import wire
from ensemble import SYNC_LIMIT_SECONDS, TICK_MILLISECONDS
from harness import wait_until
from journal import Load

#: Election and synchronisation, with room for slow machines.
ELECTION_SECONDS = 10
#: How long a leader may take to see that it leads nobody, or a follower that it follows nobody.
NOTICE_SECONDS = SYNC_LIMIT_SECONDS + 4 * TICK_MILLISECONDS / 1000


@pytest.fixture
def ensemble(make_ensemble):
    return make_ensemble(3, leader=3)


def kinds_of(pair):
    """Server 3, which leads, is of one kind; 1 and 2 are of the other."""
    one, other = pair
    return [other, other, one]


def check(ensemble, load):
    """After the load has ended."""
    ensemble.wait_formed()
    load.check(ensemble.check_trees())
    assert load.sessions_lost == 0, load


# Ends

@pytest.mark.parametrize("role", ["leader", "follower"])
def test_kill(make_ensemble, pair, role):
    """One of three dies under load and comes back; `pair` is (kind of the leader, of the others)."""
    ensemble = make_ensemble(kinds_of(pair), leader=3)
    with Load(ensemble) as load:
        victim = ensemble.leader if role == "leader" else ensemble.followers[0]
        victim.kill()
        load.wait_progress()
        ensemble.wait_formed()
        assert load.longest_gap().seconds < ELECTION_SECONDS
        victim.start()
        ensemble.wait_formed()
        load.wait_progress()
    check(ensemble, load)


@pytest.mark.slow
def test_kill_the_leader_again_and_again(make_ensemble):
    """Each time another log ends differently; who leads has been led."""
    ensemble = make_ensemble(3)
    with Load(ensemble) as load:
        for _ in range(5):
            victim = ensemble.wait_formed()
            victim.kill()
            load.wait_progress(10)
            victim.start()
        load.wait_progress(10)
    check(ensemble, load)


@pytest.mark.slow
def test_five_servers_lose_two(make_ensemble):
    """Leader and a follower at once; the other three are a quorum."""
    ensemble = make_ensemble(5, leader=5)
    with Load(ensemble) as load:
        victims = [ensemble.leader, ensemble.followers[0]]
        for victim in victims:
            victim.kill()
        load.wait_progress()
        for victim in victims:
            victim.start()
        ensemble.wait_formed()
        load.wait_progress()
    check(ensemble, load)


@pytest.mark.slow
def test_power_cuts(ensemble):
    """All die at once, under load, three times; what was acknowledged is there."""
    with Load(ensemble) as load:
        for _ in range(3):
            load.wait_progress()
            ensemble.kill_all()
            ensemble.start()
        load.wait_progress()
    check(ensemble, load)


@pytest.mark.slow
def test_a_rolling_restart(ensemble):
    """Each server ends by SIGTERM and starts again, the leader last; sessions and writes go on."""
    with Load(ensemble) as load:
        for member in [*ensemble.followers, ensemble.leader]:
            member.stop()
            load.wait_progress()
            member.start()
            ensemble.wait_formed()
        load.wait_progress()
    check(ensemble, load)
    assert load.longest_gap().seconds < ELECTION_SECONDS


def test_losing_the_quorum_ends_service(ensemble):
    """A leader without followers stops, its clients are closed, and nothing more is acknowledged."""
    leader = ensemble.leader
    client = leader.session()
    client.create("/before")
    for follower in ensemble.followers:
        follower.kill()
    client.wait_closed(seconds=NOTICE_SECONDS + 2)
    wait_until(lambda: leader.role() is None, 5, "the end of leading")
    with wire.Connection(leader.address) as connection:
        connection.send_bytes(wire.connect_request())
        connection.wait_closed()
    ensemble[1].start()
    ensemble.wait_formed()
    with leader.session(session=client) as again:
        assert not again.refused
        assert again.exists("/before")
        again.create("/after")
        again.close_session()
    ensemble[2].start()
    ensemble.wait_formed()
    assert {"/before", "/after"} <= set(ensemble.check_trees())


# Pauses

def test_a_paused_follower_disturbs_nobody(ensemble):
    """Shorter than syncLimit, then longer: the first it catches up with, after the second it returns."""
    with Load([ensemble.leader, ensemble.followers[0]]) as load:
        victim = ensemble.followers[1]
        for seconds in (SYNC_LIMIT_SECONDS / 4, 2 * SYNC_LIMIT_SECONDS):
            victim.pause()
            paused_until = time.monotonic() + seconds
            while time.monotonic() < paused_until:
                load.wait_progress(5)
            victim.resume()
            load.wait_progress(5)
            ensemble.wait_formed()
    check(ensemble, load)
    assert load.longest_gap().seconds < SYNC_LIMIT_SECONDS, load


def test_a_leader_pauses_shortly(ensemble):
    """Less than syncLimit: it leads on."""
    leader = ensemble.leader
    epoch = leader_epoch(leader)
    with Load(ensemble) as load:
        leader.pause()
        time.sleep(SYNC_LIMIT_SECONDS / 4)  # the pause that is tested
        leader.resume()
        load.wait_progress()
        assert ensemble.wait_formed() is leader
        assert leader_epoch(leader) == epoch
    check(ensemble, load)


def leader_epoch(member):
    with member.session() as client:
        zxid = client.call("closeSession").zxid
    return zxid >> 32


@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "under-load"])
def test_a_leader_pauses_too_long(make_ensemble, pair, quiet):
    """Another leads meanwhile; the old one steps down when it wakes, and its client loses nothing.

    `pair` is (kind of the old leader, of the others).
    """
    ensemble = make_ensemble(kinds_of(pair), leader=3)
    old = ensemble.leader
    client = old.session(timeout=30_000)
    client.create("/mine", flags=wire.EPHEMERAL)
    with Load(ensemble.followers, writers=0 if quiet else 2) as load:
        old.pause()
        # Without its process's doing the request waits in the socket, and is read after the pause.
        client.send("create", wire.create("/from-the-past"))
        new = ensemble.wait_formed()
        assert new is not old
        with new.session() as other:
            other.create("/meanwhile")
            other.close_session()
        load.wait_progress()
        old.resume()
        try:
            reply = client.reply()
            assert reply.error, "the old leader acknowledged a write alone"
        except wire.Closed:
            pass
        ensemble.wait_formed()
        assert ensemble.leader is new
        load.wait_progress()
    tree = ensemble.check_trees()
    load.check(tree)
    assert load.sessions_lost == 0, load
    assert "/from-the-past" not in tree and "/meanwhile" in tree
    assert tree["/mine"].stat.ephemeralOwner == client.session_id
    with old.session(session=client) as again:
        assert not again.refused
        again.set("/mine", b"still")
        again.close_session()
    assert "/mine" not in ensemble.check_trees()


def test_all_pause_and_go_on(ensemble):
    """As a machine that sleeps: nobody may be lost, whoever leads afterwards."""
    with Load(ensemble) as load:
        for member in ensemble:
            member.pause()
        time.sleep(SYNC_LIMIT_SECONDS + 0.5)  # the pause that is tested
        for member in ensemble:
            member.resume()
        load.wait_progress()
    check(ensemble, load)


# Observers

@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "pause"])
def test_an_observer_fails(make_ensemble, end):
    """Nobody waits for it; it catches up."""
    ensemble = make_ensemble(4, leader=3, observers=1)
    observer = ensemble[4]
    with Load(ensemble.members[:3]) as load:
        if end == "kill":
            observer.kill()
        else:
            observer.pause()
        failed_until = time.monotonic() + 2 * SYNC_LIMIT_SECONDS
        while time.monotonic() < failed_until:
            load.wait_progress()
        if end == "kill":
            observer.start()
        else:
            observer.resume()
        ensemble.wait_formed()
        load.wait_progress()
    check(ensemble, load)
    assert load.longest_gap().seconds < SYNC_LIMIT_SECONDS, load


def test_a_leader_of_observers_fails(make_ensemble):
    """The observer follows whoever leads next; its clients keep their sessions."""
    ensemble = make_ensemble(4, leader=3, observers=1)
    with Load([ensemble[4]], writers=2) as load:
        old = ensemble.leader
        old.kill()
        load.wait_progress()
        old.start()
        ensemble.wait_formed()
        load.wait_progress()
    check(ensemble, load)
