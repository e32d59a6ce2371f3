"""Observers hold all, serve clients, and have no voice."""
import shutil

import pytest

import wire
import storage_files
from ensemble import difference, listening_ports
from harness import wait_until
from journal import Load


@pytest.fixture(scope="module", params=["leader", "follower"])
def observed(request, make_shared_ensemble):
    """Three participants and an observer with the greatest id, which learns from the leader, server
    3, or from a follower."""
    if request.param == "leader":
        return make_shared_ensemble(4, leader=3, observers=1)
    [port] = listening_ports(1)
    return make_shared_ensemble(4, leader=3, observers=1, own_hosts=True,
                                config={"observerMasterPort": port})


def test_an_observer_serves(observed):
    observer, leader = observed[4], observed.leader
    assert observer.role() == "observer"
    assert observer.mntr()["zk_peer_state"] == "observing - broadcast"
    master = observed[int(observer.mntr()["zk_observer_master_id"])]
    assert (master is leader) == ("observerMasterPort" not in observed.config)
    assert leader.metric("synced_followers") == 2
    assert [member.metric("synced_observers") for member in observed.members[:3]] == \
        [int(member is master) for member in observed.members[:3]]
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


def test_who_asked_is_answered(observed):
    """The leader answers in the order of the questions; each client gets its own answers."""
    with observed[4].session() as one, observed.followers[0].session() as other, \
            observed.followers[1].session() as third:
        clients = [one, other, third]
        for number in range(30):
            for client in clients[:1 + number % 3]:
                client.send("sync", wire.path_only(f"/{number}"))
        for number in range(30):
            for client in clients[:1 + number % 3]:
                reply = client.reply()
                assert (reply.error, wire.Decoder(reply.body).string()) == (0, f"/{number}")
        for client in clients:
            client.close_session()


def test_sessions_go_on_where_they_are_asked_for(observed):
    """All at once, at all learners: some never were."""
    sessions = [observed.leader.session() for _ in range(20)]
    asking, followers = [], observed.followers
    # Nothing is answered before everything is asked.
    observed[3].pause()
    for number, session in enumerate(sessions):
        for member, lives in ((observed[4], number % 2), (followers[number // 2 % 2], 1 - number % 2)):
            session_id = session.session_id if lives else 0x700_0000 + number
            connection = wire.Connection(member.address)
            connection.send_bytes(wire.connect_request(
                session_id=session_id, password=wire.session_password(session_id)))
            asking.append((connection, session_id if lives else 0))
    observed[3].resume()
    for connection, wanted in asking:
        assert wire.decode_connected(connection.receive_frame()).session_id == wanted
        connection.close()
    for session in sessions:
        with observed.leader.session(session=session) as back:
            back.close_session()
        session.close()


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


def test_an_observer_without_a_disk(make_ensemble):
    """With syncEnabled=false it keeps everything in memory, and begins with nothing."""
    ensemble = make_ensemble(4, leader=3, observers=1,
                             config={"syncEnabled": "false", "snapCount": 100})
    observer = ensemble[4]
    with Load(ensemble.members, writers=2) as load:
        load.wait_progress()
        for restarted in (observer, ensemble.leader, observer):
            restarted.kill()
            load.wait_progress(120)
            restarted.start()
            ensemble.wait_formed()
            load.wait_progress()
            assert not observer.logged_zxids()
            if observer.kind == "aviary":
                snapshots = storage_files.files(observer.data_dir, "snapshot")
                assert not any(storage_files.zxid_of(path) for path in snapshots)
    assert all(member.logged_zxids() for member in ensemble.members[:3])
    load.check(ensemble.check_trees())


def test_an_observer_without_a_disk_is_cut_back(make_ensemble, tmp_path):
    """The others are put back to an older state, as from a backup: it takes that over as a whole."""
    ensemble = make_ensemble(4, start=False, observers=1, config={"syncEnabled": "false"})
    *participants, observer = ensemble.members
    if observer.kind == "apache":
        pytest.skip("it is for our servers to say what they do without a log")
    ensemble.start(leader=3)

    def write(path):
        with observer.session() as client:
            client.create(path)
            client.close_session()

    def restart(change):
        for member in participants:
            member.kill()
        for member in participants:
            change(storage_files.version_dir(member.data_dir), tmp_path / str(member.id))
        ensemble.start_members(participants)

    def put_back(directory, backup):
        shutil.rmtree(directory)
        shutil.copytree(backup, directory)

    write("/kept")
    restart(shutil.copytree)
    write("/undone")
    restart(put_back)
    tree = ensemble.check_trees()
    assert "/kept" in tree and "/undone" not in tree


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
