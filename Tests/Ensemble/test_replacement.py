"""The servers of an ensemble are replaced one by one by those of the other kind, and clients go on.

`pair` is (kind before, kind after); on one kind alone it is a rolling restart with the same checks.
"""
import threading

import pytest
from kazoo.client import KazooState
from kazoo.retry import KazooRetry

from ensemble import CONFIG_NODE, difference
from journal import Load

ELECTION_SECONDS = 10


class KazooUser:
    """An ordinary program: one session, an ephemeral znode, a watch, and writes that are retried."""

    def __init__(self, ensemble):
        self.client = ensemble.kazoo(timeout=20)
        self.retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.2)
        self.client.create("/user", b"0")
        self.client.create("/user/here", ephemeral=True)
        self.session = self.client.client_id[0]
        self.lost = False
        self.client.add_listener(self._listen)
        self.seen = []
        self.client.DataWatch("/user", lambda data, stat: self.seen.append(int(data)))
        self.written = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _listen(self, state):
        self.lost = self.lost or state == KazooState.LOST

    def _run(self):
        while not self._stopping.wait(0.02):
            self.retry(self.client.set, "/user", b"%d" % (self.written + 1))
            self.written += 1

    def finish(self):
        """After the last replacement: the session and what it owns are still those of the start."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a write is retried without end"
        assert not self.lost and self.client.client_id[0] == self.session
        self.client.sync("/user")
        assert int(self.client.get("/user")[0]) == self.written > 0
        assert self.client.exists("/user/here").ephemeralOwner == self.session
        assert self.seen == sorted(self.seen), "a watch saw the past"


@pytest.mark.slow
@pytest.mark.limit(240)
def test_one_by_one_and_back(make_ensemble, pair):
    before, after = pair
    ensemble = make_ensemble([before] * 3, leader=3)
    with Load(ensemble) as load:
        user = KazooUser(ensemble)
        for kind in (after, before):
            for member in [*ensemble.followers, ensemble.leader]:
                member.stop()
                member.swap(kind)
                load.wait_progress()
                member.start()
                ensemble.wait_formed()
                load.wait_progress()
            assert {member.kind for member in ensemble} == {kind}
        user.finish()
    tree = ensemble.check_trees()
    load.check(tree)
    assert load.sessions_lost == 0, load
    assert load.longest_gap().seconds < ELECTION_SECONDS, load


@pytest.mark.slow
def test_all_at_once(make_ensemble, pair):
    """Down with one kind, up with the other, from the files alone."""
    before, after = pair
    ensemble = make_ensemble([before] * 3)
    with Load(ensemble) as load:
        load.wait_progress(100)
        ensemble.kill_all()
        for member in ensemble:
            member.swap(after)
        ensemble.start()
        load.wait_progress()
    tree = ensemble.check_trees()
    load.check(tree)
    assert load.sessions_lost == 0, load
    ensemble.kill_all()
    for member in ensemble:
        for kind in {before, after}:
            found = member.tree_on_disk(kind)
            found[CONFIG_NODE] = tree[CONFIG_NODE]
            # A server that was cut off knows no more than a quorum of them did.
            assert not difference(tree, found), f"{member!r} read as {kind}"
