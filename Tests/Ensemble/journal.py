"""Clients that write without end, and what must be true of the tree whatever happened meanwhile.

    load = Load(ensemble, writers=3)
    load.start()
    ensemble.leader.kill()
    load.wait_progress()
    load.stop()
    load.check(ensemble.check_trees())

A writer has one session and one request under way. It notes each request with what became of it:

    acknowledged    the reply said so: it must be in the tree of all servers, for good
    refused         the reply was an error: it must not
    ambiguous       the connection ended before the reply: either is right

Requests are due at a fixed pace, whether or not the one before was answered in time, so the longest
time between two acknowledgements is the interruption that a user would see.
"""
import dataclasses
import itertools
import threading
import time
from typing import NamedTuple, Optional

import wire
from harness import wait_until

PACE_SECONDS = 0.01
#: Without a reply for so long a client tries the next server.
PATIENCE_SECONDS = 1.5
RETRY_SECONDS = 0.02
SESSION_MILLISECONDS = 20_000

SESSION_ERRORS = {wire.SESSIONEXPIRED: "expired", -118: "moved"}


class Lost(AssertionError):
    """The tree does not follow from what was acknowledged."""


class Link(wire.Client):
    """A client that waits no longer than a user would before it tries another server."""

    def receive_frame(self, seconds=PATIENCE_SECONDS):
        return super().receive_frame(min(seconds, PATIENCE_SECONDS))


@dataclasses.dataclass
class Entry:
    """One request."""
    operation: str  # 'create', 'sequential', 'set' or 'delete'
    path: str
    data: bytes
    outcome: str = "ambiguous"
    zxid: Optional[int] = None
    version: Optional[int] = None
    acknowledged_at: Optional[float] = None

    @property
    def acknowledged(self):
        return self.outcome == "acknowledged"


class Gap(NamedTuple):
    seconds: float
    after: int  # acknowledgements before it


class Writer:
    """Creates znodes below a node of its own, sets that node, and deletes some of its children."""

    def __init__(self, name, addresses, pace=PACE_SECONDS):
        self.root = f"/{name}"
        self.addresses = itertools.cycle(addresses)
        self.pace = pace
        self.entries = []
        self.sessions_lost = 0
        self.connections = 0
        self.failure = None
        self.began_at = None
        self.stopped_at = None
        self._client = None
        self._session = {}
        self._zxid = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # Life

    def start(self):
        """Returns when the writer's own node is there."""
        wait_until(self._connect, 30, f"a first session of {self.root}")
        self._client.create(self.root)
        self._zxid = self._client.zxid
        self.began_at = time.monotonic()
        self._thread.start()
        return self

    def cancel(self):
        """Lets the writer end without waiting for it or asking what it saw."""
        self._stopping.set()

    def stop(self):
        self.cancel()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), f"the writer of {self.root} hangs"
        if self.failure is not None:
            raise self.failure

    def _run(self):
        try:
            due = time.monotonic()
            while not self._stopping.is_set():
                if self._client is None and not self._connect():
                    self._stopping.wait(RETRY_SECONDS)
                    continue
                self._write()
                due = max(due + self.pace, time.monotonic() - 1)
                self._stopping.wait(max(0, due - time.monotonic()))
        except BaseException as failure:  # raised by stop()
            self.failure = failure
        finally:
            self.stopped_at = time.monotonic()
            self._disconnect()

    def _connect(self):
        try:
            client = Link(next(self.addresses), SESSION_MILLISECONDS, last_zxid=self._zxid,
                          **self._session)
        except (wire.Closed, wire.Silence, OSError):
            return False
        if client.refused:
            client.close()
            self.sessions_lost += 1
            self._session = {}
            return False
        self._session = {"session_id": client.session_id, "password": client.password}
        self._client = client
        self.connections += 1
        return True

    def _disconnect(self):
        if self._client is not None:
            self._client.close()
            self._client = None

    # Requests

    def _write(self):
        entry = self._next_entry()
        self.entries.append(entry)
        operation, body = self._request(entry)
        try:
            reply = self._client.call(operation, body, seconds=PATIENCE_SECONDS)
        except (wire.Closed, wire.Silence, OSError):
            return self._disconnect()
        self._zxid = max(self._zxid, self._client.zxid)
        if reply.error:
            entry.outcome = "refused"
            if reply.error not in SESSION_ERRORS:
                raise Lost(f"{self.root}: {entry} was answered with error {reply.error}")
            if reply.error == wire.SESSIONEXPIRED:
                self.sessions_lost += 1
                self._session = {}
            return self._disconnect()
        fields = wire.Decoder(reply.body)
        if operation == "create":
            entry.path = fields.string()
        elif operation == "setData":
            entry.version = fields.stat().version
        entry.zxid = reply.zxid
        entry.outcome = "acknowledged"
        entry.acknowledged_at = time.monotonic()

    def _next_entry(self):
        """Turns of five: two creates, two sets, and the end of a znode made in the turn before."""
        number = len(self.entries)
        data = b"%s %d" % (self.root.encode(), number)
        step = number % 5
        if step == 4:
            created = self.entries[number - 9] if number >= 9 else None
            if created is not None and created.operation == "create" and created.acknowledged:
                return Entry("delete", created.path, b"")
        if step == 0:
            return Entry("create", f"{self.root}/n{number:06d}", data)
        if step == 2:
            return Entry("sequential", f"{self.root}/s-", data)
        return Entry("set", self.root, data)

    @staticmethod
    def _request(entry):
        if entry.operation == "create":
            return "create", wire.create(entry.path, entry.data)
        if entry.operation == "sequential":
            return "create", wire.create(entry.path, entry.data, flags=wire.SEQUENTIAL)
        if entry.operation == "set":
            return "setData", wire.set_data(entry.path, entry.data)
        return "delete", wire.path_version(entry.path)

    # What happened

    @property
    def acknowledged(self):
        return [entry for entry in self.entries if entry.acknowledged]

    @property
    def ambiguous(self):
        return [entry for entry in self.entries if entry.outcome == "ambiguous"]

    def wait_progress(self, writes=20, seconds=30):
        """Waits until so many more writes are acknowledged."""
        # A reply to what was sent before this call would not show that writes succeed now.
        aim = len(self.acknowledged) + writes + 1
        wait_until(lambda: self.failure or len(self.acknowledged) >= aim, seconds,
                   f"{writes} more writes of {self.root}")
        if self.failure is not None:
            raise self.failure

    def longest_gap(self):
        """The longest time without a successful write."""
        times = [self.began_at, *(entry.acknowledged_at for entry in self.acknowledged)]
        times.append(self.stopped_at or time.monotonic())
        return max(Gap(after - before, index)
                   for index, (before, after) in enumerate(zip(times, times[1:])))

    # The check

    def check(self, tree):
        """Compares a tree with the journal."""
        zxids = [entry.zxid for entry in self.acknowledged]
        if zxids != sorted(set(zxids)):
            raise Lost(f"{self.root}: acknowledged zxids are not increasing: {zxids}")
        self._check_znodes(tree)
        self._check_versions(tree)

    def _check_znodes(self, tree):
        created = [entry for entry in self.entries if entry.operation in ("create", "sequential")]
        deletes = {entry.path: entry for entry in self.entries if entry.operation == "delete"}
        below = {path: node for path, node in tree.items() if path.startswith(self.root + "/")}
        by_data = {node.data: (path, node) for path, node in below.items()}
        if len(by_data) != len(below):
            raise Lost(f"{self.root}: a create was done twice")
        order = []
        for entry in created:
            path, node = by_data.pop(entry.data, (None, None))
            delete = deletes.get(entry.path)
            if node is None:
                # Gone with a delete that succeeded, or may have.
                if entry.acknowledged and (delete is None or delete.outcome == "refused"):
                    raise Lost(f"{self.root}: lost {entry}")
                continue
            if entry.outcome == "refused":
                raise Lost(f"{self.root}: {entry} is there as {path}")
            if delete is not None and delete.acknowledged:
                raise Lost(f"{self.root}: {entry} is back after {delete}")
            if entry.acknowledged and (path, node.stat.czxid) != (entry.path, entry.zxid):
                raise Lost(f"{self.root}: {entry} is at {path} with zxid {node.stat.czxid:#x}")
            order.append(node.stat.czxid)
        if by_data:
            raise Lost(f"{self.root}: never written: {sorted(by_data.values())}")
        if order != sorted(set(order)):
            raise Lost(f"{self.root}: creates in another order than they were sent: {order}")

    def _check_versions(self, tree):
        """Each set adds one: between two that are known lie as many as may have happened."""
        node = tree.get(self.root)
        if node is None:
            raise Lost(f"{self.root} is lost")
        version, possible, data = 0, 0, [b""]
        for entry in self.entries:
            if entry.operation != "set" or entry.outcome == "refused":
                continue
            if not entry.acknowledged:
                possible += 1
                data.append(entry.data)
                continue
            if not version + 1 <= entry.version <= version + 1 + possible:
                raise Lost(f"{self.root}: {entry} follows version {version}, "
                           f"{possible} sets between are ambiguous")
            version, possible, data = entry.version, 0, [entry.data]
        found = node.stat.version
        if not version <= found <= version + possible:
            raise Lost(f"{self.root}: version {found}; {version} was acknowledged, {possible} sets "
                       "after it are ambiguous")
        if node.data not in (data[:1] if found == version else data[1:]):
            raise Lost(f"{self.root}: data {node.data} at version {found}, expected one of {data}")


class Load:
    """Several writers, each of which prefers a server of its own."""

    def __init__(self, members, writers=3, pace=PACE_SECONDS, name="writer"):
        members = list(members)
        self.writers = []
        for index in range(writers):
            shift = index % len(members)
            addresses = [member.address for member in members[shift:] + members[:shift]]
            self.writers.append(Writer(f"{name}-{index}", addresses, pace))

    def start(self):
        for writer in self.writers:
            writer.start()
        self.wait_progress()
        return self

    def stop(self):
        for writer in self.writers:
            writer.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is None:
            return self.stop()
        for writer in self.writers:
            writer.cancel()

    def wait_progress(self, writes=20, seconds=30):
        """Waits until each writer got so many further writes acknowledged."""
        for writer in self.writers:
            writer.wait_progress(writes, seconds)

    def longest_gap(self):
        return max(writer.longest_gap() for writer in self.writers)

    @property
    def sessions_lost(self):
        return sum(writer.sessions_lost for writer in self.writers)

    def check(self, tree):
        for writer in self.writers:
            writer.check(tree)

    def __str__(self):
        lines = [f"{writer.root}: {len(writer.acknowledged)} acknowledged, "
                 f"{len(writer.ambiguous)} ambiguous, {writer.connections} connections, "
                 f"{writer.sessions_lost} sessions lost, longest gap {writer.longest_gap().seconds:.2f} s"
                 for writer in self.writers]
        return "\n".join(lines)
