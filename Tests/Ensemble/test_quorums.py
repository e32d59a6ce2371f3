"""Quorums that are no plain majority: weights and groups."""
import pytest

import wire
from journal import Load


@pytest.mark.slow
def test_groups(make_ensemble):
    """A quorum is a majority in each of a majority of the groups {1,2,3}, {4} and {5}."""
    config = {"group.1": "1:2:3", "group.2": "4", "group.3": "5",
              **{f"weight.{server_id}": 1 for server_id in range(1, 6)}}
    ensemble = make_ensemble(5, leader=5, config=config)
    with Load([ensemble[4], ensemble[5]], writers=2) as load:
        for member in ensemble.members[:3]:
            member.kill()
        load.wait_progress()
        assert ensemble.wait_formed() is ensemble[5]
    load.check(ensemble.check_trees())
    ensemble[5].kill()
    ensemble.check_unserved()
    ensemble[1].start()
    ensemble.check_unserved()
    # Two of the group of three stand for the group.
    ensemble[2].start()
    ensemble.wait_formed()
    load.check(ensemble.check_trees())
    # Three servers of five, but one group of three.
    ensemble[4].kill()
    ensemble[3].start()
    ensemble.check_unserved()
    ensemble[5].start()
    ensemble.wait_formed()
    load.check(ensemble.check_trees())


def test_a_server_without_weight(make_ensemble):
    """It follows and serves, but never leads, and nothing is committed on its word."""
    config = {"group.1": "1:2:3", "weight.1": 1, "weight.2": 1, "weight.3": 0}
    ensemble = make_ensemble(3, config=config)
    leader = ensemble.leader
    assert leader in (ensemble[1], ensemble[2]), "server 3 has the greatest id, but no weight"
    with ensemble[3].session() as client:
        client.create("/by-3", b"")
        other = next(member for member in ensemble.followers if member.id != 3)
        other.pause()
        client.send("create", wire.create("/unconfirmed"))
        client.wait_closed()
    ensemble.check_unserved()
    other.resume()
    ensemble.wait_formed()
    ensemble[3].kill()
    with ensemble.leader.session() as client:
        client.create("/without-3")
        client.close_session()
    ensemble[3].start()
    ensemble.wait_formed()
    assert {"/by-3", "/without-3"} <= set(ensemble.check_trees())


def test_a_server_with_most_of_the_weight(make_ensemble):
    """It needs nobody, and nobody can do without it."""
    config = {"group.1": "1:2:3", "weight.1": 3, "weight.2": 1, "weight.3": 1}
    ensemble = make_ensemble(3, start=False, config=config)
    ensemble.start_members([ensemble[1]])
    with ensemble[1].session() as client:
        client.create("/alone")
        client.close_session()
    ensemble.start_members([ensemble[2], ensemble[3]])
    assert ensemble.leader is ensemble[1]
    assert "/alone" in ensemble.check_trees()
    ensemble[1].kill()
    ensemble.check_unserved()
    ensemble[1].start()
    ensemble.wait_formed()
    assert "/alone" in ensemble.check_trees()
