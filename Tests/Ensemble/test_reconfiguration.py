"""Members join, leave and change their role while the ensemble serves."""
import pytest
from kazoo import exceptions

import wire
from ensemble import CONFIG_NODE, difference, listening_ports
from harness import wait_until
from journal import Load

CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id("super:secret")}


@pytest.fixture
def ensemble(make_ensemble):
    return make_ensemble(3, leader=3, dynamic=True, config=CONFIG)


def operator(ensemble, *members):
    """A kazoo client that may change the configuration."""
    client = ensemble.kazoo(*members)
    client.add_auth("digest", "super:secret")
    return client


def reconfigure(client, joining=None, leaving=None, new_members=None, from_config=-1):
    """Returns (version, the server lines) of the new configuration."""
    data, _ = client.reconfig_async(joining, leaving, new_members, from_config).get(timeout=20)
    return parse(data)


def remove_leader(ensemble, client, servers):
    """The leader leaves, and with it everybody's connection: the reply may be lost.

    Returns the configuration with these server lines, once another leads and all members have it.
    """
    old = ensemble.leader
    try:
        reconfigure(client, leaving=str(old.id))
    except exceptions.ConnectionLoss:
        pass
    leader = wait_until(lambda: _another_leader(ensemble, old), 20, f"another leader than {old!r}")
    config = (config_of(leader)[0], servers)
    wait_config(ensemble, config)
    return config


def _another_leader(ensemble, old):
    leaders = ensemble.with_role("leader")
    return leaders[0] if leaders and old not in leaders else None


def parse(data):
    lines = data.decode().split("\n")
    version = next(line[len("version="):] for line in lines if line.startswith("version="))
    return int(version, 16), sorted(line for line in lines if line.startswith("server."))


def line(ensemble, member, role=None):
    return f"server.{member.id}={ensemble.specification(member, role)}"


def lines(ensemble, *members):
    return sorted(line(ensemble, member) for member in members)


def config_of(member):
    """None if it does not serve right now."""
    try:
        with member.session() as client:
            client.ask("sync", wire.path_only("/"))
            data = client.get(CONFIG_NODE)[0]
            client.close_session()
    except (wire.Closed, OSError):
        return None
    return parse(data)


def wait_config(ensemble, config):
    """Waits until all running members know the configuration."""
    for member in ensemble.others():
        wait_until(lambda: config_of(member) == config, 10, f"the new configuration of {member!r}")


def test_the_first_configuration_has_a_version(ensemble):
    version, servers = config_of(ensemble.leader)
    assert version == 1 << 32
    assert servers == lines(ensemble, *ensemble)
    ensemble.check_trees()


def test_join_and_leave(ensemble):
    """A fourth server joins, votes, and outlives two of the first three, which leave one by one."""
    client = operator(ensemble)
    with Load(ensemble.members) as load:
        fourth = ensemble.add(ensemble[1].kind)
        fourth.start()
        ensemble.wait_formed()
        assert ensemble.leader.metric("synced_followers") == 3
        assert ensemble.leader.metric("synced_non_voting_followers") == 1
        config = reconfigure(client, joining=line(ensemble, fourth))
        assert config[1] == lines(ensemble, *ensemble)
        wait_config(ensemble, config)
        ensemble.wait_formed()
        assert ensemble.leader.metric("synced_followers") == 3
        assert ensemble.leader.metric("synced_non_voting_followers") == 0
        load.wait_progress()
        # A follower leaves: it goes on as a server without a vote until it is stopped.
        config = reconfigure(client, leaving="1")
        assert config[1] == lines(ensemble, *ensemble.members[1:])
        wait_config(ensemble, config)
        load.wait_progress()
        ensemble[1].stop()
        load.wait_progress()
        # The leader leaves: another leads, without it.
        assert ensemble.leader is ensemble[3]
        config = remove_leader(ensemble, client, lines(ensemble, ensemble[2], ensemble[4]))
        ensemble.wait_formed()
        assert ensemble.leader in (ensemble[2], ensemble[4])
        ensemble[3].stop()
        load.wait_progress()
    load.check(ensemble.check_trees())
    assert load.sessions_lost == 0, load
    # Two servers, and both are needed.
    ensemble[4].kill()
    ensemble.check_unserved(seconds=1)
    ensemble[4].start()
    ensemble.wait_formed()
    wait_config(ensemble, config)


def test_the_configuration_survives_a_restart(ensemble):
    client = operator(ensemble, ensemble[1], ensemble[2])
    config = remove_leader(ensemble, client, lines(ensemble, *ensemble.members[:2]))
    client.stop()
    ensemble.kill_all()
    ensemble.start_members(ensemble.members[:2])
    wait_config(ensemble, config)
    for member in ensemble.members[:2]:
        assert "dynamicConfigFile=" in member.config_on_disk()
        assert "server." not in member.config_on_disk()
    ensemble.check_trees()


def test_new_members(ensemble):
    """The whole list at once."""
    client = operator(ensemble)
    fourth = ensemble.add(ensemble[1].kind)
    fourth.start()
    ensemble.wait_formed()
    members = [ensemble[2], ensemble[3], fourth]
    config = reconfigure(client, new_members=",".join(line(ensemble, member) for member in members))
    assert config[1] == lines(ensemble, *members)
    ensemble[1].stop()
    ensemble.wait_formed()
    wait_config(ensemble, config)
    # The other two are a quorum only if server 4 votes.
    ensemble[2].kill()
    with fourth.session() as voter:
        voter.create("/by-4")
        voter.close_session()
    ensemble[2].start()
    ensemble.wait_formed()
    ensemble.check_trees()


def test_a_participant_becomes_an_observer_and_back(ensemble):
    client = operator(ensemble, ensemble[2], ensemble[3])
    member = ensemble[1]
    with Load(ensemble.members[1:], writers=2) as load:
        for role, mode in (("observer", "observer"), ("participant", "follower")):
            config = reconfigure(client, joining=line(ensemble, member, role))
            assert line(ensemble, member, role) in config[1]
            wait_until(lambda: member.role() == mode, 20, f"{member!r} as {mode}")
            ensemble.wait_formed()
            wait_config(ensemble, config)
            assert ensemble.leader.metric("synced_observers") == int(role == "observer")
            load.wait_progress()
    load.check(ensemble.check_trees())


def test_another_client_port(ensemble):
    """The server listens there from then on, and no longer where it did."""
    client = operator(ensemble, ensemble[2], ensemble[3])
    member = ensemble[1]
    old = ensemble[1].address
    [member._port] = listening_ports(1)
    config = reconfigure(client, joining=line(ensemble, member))
    wait_until(lambda: member.role() == "follower", 10, "service on the new port")
    wait_config(ensemble, config)

    def refused():
        try:
            wire.Connection(old).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, 10, "the end of the old port")


def test_watches_of_the_configuration(ensemble):
    client = operator(ensemble)
    watchers = [member.session() for member in ensemble]
    for watcher in watchers:
        watcher.get(CONFIG_NODE, watch=True)
    reconfigure(client, joining=line(ensemble, ensemble[1]))
    for watcher in watchers:
        assert watcher.wait_event()[1:] == (wire.CHANGED, wire.SYNC_CONNECTED, CONFIG_NODE)
        watcher.close_session()


def test_what_is_refused(ensemble):
    """Nothing changes, on any server."""
    client = operator(ensemble)
    before = config_of(ensemble.leader)
    absent = ensemble.add(ensemble[1].kind)
    two_absent = [absent, ensemble.add(ensemble[1].kind)]
    both = ",".join(line(ensemble, member) for member in two_absent)
    for error, arguments in [
            (exceptions.BadVersionError, {"leaving": "1", "from_config": before[0] + 1}),
            (exceptions.NewConfigNoQuorumError, {"joining": both, "leaving": "1,2"}),
            (exceptions.BadArgumentsError, {"joining": "server.4=127.0.0.1"}),
            (exceptions.BadArgumentsError, {"joining": "nonsense"}),
            (exceptions.BadArgumentsError, {"leaving": "1,2,3"})]:
        with pytest.raises(error):
            reconfigure(client, **arguments)
    stranger = ensemble.kazoo()
    with pytest.raises(exceptions.NoAuthError):
        reconfigure(stranger, leaving="1")
    for member in ensemble.members[:3]:
        assert config_of(member) == before
    # The right version is no hindrance.
    config = reconfigure(client, joining=line(ensemble, ensemble[1]), from_config=before[0])
    assert config[0] > before[0] and config[1] == before[1]
    ensemble.check_trees()


def test_reconfiguration_that_is_not_enabled(make_ensemble):
    ensemble = make_ensemble(3, leader=3, config=CONFIG)
    client = operator(ensemble)
    with pytest.raises(exceptions.ReconfigDisabledError):
        reconfigure(client, leaving="1")
    ensemble.check_trees()


def test_the_leader_dies_after_a_reconfiguration(ensemble):
    """Who did not hear of it before learns it with the new leader."""
    client = operator(ensemble, ensemble[2], ensemble[3])
    fourth = ensemble.add(ensemble[1].kind)
    fifth = ensemble.add(ensemble[1].kind)
    ensemble.start_members([fourth, fifth])
    ensemble[1].kill()
    config = reconfigure(client, joining=",".join(line(ensemble, member)
                                                  for member in (fourth, fifth)))
    ensemble.leader.kill()
    ensemble.wait_formed()
    ensemble[1].start()
    ensemble.wait_formed()
    wait_config(ensemble, config)
    ensemble[3].start()
    ensemble.wait_formed()
    wait_config(ensemble, config)
    assert ensemble.leader.metric("synced_followers") == 4
    ensemble.check_trees()


def test_observers_of_followers_hear_of_it(make_ensemble):
    """Who learns from a follower is told of another configuration, and of its own new role."""
    [port] = listening_ports(1)
    ensemble = make_ensemble(4, leader=3, observers=1, dynamic=True, own_hosts=True,
                             config={**CONFIG, "observerMasterPort": port})
    observer = ensemble[4]
    client = operator(ensemble, ensemble.leader)
    with Load([observer]) as load:
        fifth = ensemble.add(ensemble[1].kind)
        fifth.start()
        ensemble.wait_formed()
        for joining in (line(ensemble, fifth), line(ensemble, observer, "participant")):
            config = reconfigure(client, joining=joining)
            wait_config(ensemble, config)
            load.wait_progress()
    ensemble.wait_formed()
    assert observer.role() == "follower"
    load.check(ensemble.check_trees())
    assert load.sessions_lost == 0, load


def test_an_observer_without_a_disk_becomes_a_voter(make_ensemble):
    """What it had in memory only it takes over again, and has on its disk from then on."""
    ensemble = make_ensemble(4, start=False, observers=1, dynamic=True,
                             config={**CONFIG, "syncEnabled": "false"})
    observer = ensemble[4]
    if observer.kind == "apache":
        pytest.skip("it is for our servers to say what they have on their disks")
    ensemble.start(leader=3)
    with Load(ensemble.members[:3]) as load:
        load.wait_progress()
        config = reconfigure(operator(ensemble, ensemble.leader),
                             joining=line(ensemble, observer, "participant"))
        wait_config(ensemble, config)
        load.wait_progress()
    ensemble.wait_formed()
    assert observer.role() == "follower"
    tree = ensemble.check_trees()
    load.check(tree)
    ensemble.kill_all()
    assert not difference(tree, observer.tree_on_disk())
