"""kill -9 at random moments under load, and logs cut and garbled on purpose.

    CRASH_ROUNDS=500 CRASH_SEED=7 python -m pytest test_crash.py -k random_moments -s

CRASH_ROUNDS   how often the server is killed (default 300)
CRASH_SEED     repeats the choices of a run: operations and moments, not the scheduler's
DAMAGE_STEP    try every n-th byte only (default 1, with Apache's slow start 16)

Writers keep a window of writes under way and note what they send and what is acknowledged. After
the restart a writer's part of the tree must be what some first b of its operations make, with b
not below the acknowledged ones and not above the sent ones: nothing acknowledged is missing,
nothing unsent is there, nothing is half there, nothing is out of order.

A killed process leaves what it wrote in the system's cache: this sees a reply that went out before
the write to the file, not one that went out before the fsync.
"""
import os
import random
import re
import shutil
import struct
import threading
import time
from typing import NamedTuple, Optional

import pytest

import harness
import storage_files
import wire

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "300"))
SEED = int(os.environ.get("CRASH_SEED", time.time_ns() % 1_000_000))
DAMAGE_STEP = int(os.environ.get("DAMAGE_STEP",
                                 "16" if harness.default_kind() == "apache" else "1"))
WRITERS = 4
WINDOW = 24
NODES_MAX = 40
SESSION_MILLISECONDS = 30_000
# Small files: snapshots, rolls and preallocation happen all the time.
CONFIG = {"tickTime": 2000, "snapCount": 200, "preAllocSize": 16}


class Lost(AssertionError):
    """The server's tree does not follow from what was sent and acknowledged."""


class Node(NamedTuple):
    data: bytes
    version: int
    ephemeral: bool
    created: int  # index of the operation, whose zxid may be unknown
    modified: int


class Operation(NamedTuple):
    name: str
    body: bytes
    error: int
    #: {key: Node, or None when deleted}; the key is the path, or the data of a sequential node.
    effects: dict
    results: Optional[list] = None  # of a multi: the expected errors


class Writer:
    """A session that writes below its own node and makes sequential nodes in a shared one."""

    def __init__(self, number, seed):
        self.root = f"/w{number}"
        self.random = random.Random(f"{seed}/{number}")
        self.client = None
        self.session = None
        self.counter = 0
        self.last_acknowledged_zxid = 0
        #: Paths of the sequential nodes that are known, by their data.
        self.sequential = {}
        #: (zxid, sequence number) of every sequential create that was acknowledged.
        self.numbers = set()
        self.state = {}
        self.failure = None
        self.begin_round()

    def begin_round(self):
        self.sent, self.acknowledged = [], 0
        self.zxids = {}
        #: `state` is what the last check saw, `expected` that with all that was sent.
        self.expected = dict(self.state)

    # The session

    def connect(self, address):
        if self.session is None:
            self.client = wire.Client(address, SESSION_MILLISECONDS)
            self.session = (self.client.session_id, self.client.password)
            self.client.create(self.root)
            self.last_acknowledged_zxid = self.client.zxid
        else:
            self.client = wire.Client(address, SESSION_MILLISECONDS, *self.session,
                                      last_zxid=self.last_acknowledged_zxid)
            if self.client.refused:
                raise Lost(f"{self.root}: session {self.session[0]:#x} is gone")

    # Load

    def run(self):
        """Writes until the server goes away."""
        try:
            while True:
                batch = []
                while len(self.sent) - self.acknowledged < WINDOW:
                    operation = self.choose()
                    self.sent.append(operation)
                    self.expected.update(operation.effects)
                    batch.append(wire.request(len(self.sent), operation.name, operation.body))
                self.client.send_bytes(b"".join(batch))
                self.receive()
                while len(self.sent) - self.acknowledged > WINDOW // 2:
                    self.receive()
        except (wire.Closed, OSError):
            pass
        except BaseException as failure:  # reported by the main thread
            self.failure = failure
        finally:
            self.client.close()

    def receive(self):
        reply = self.client.reply()
        index = self.acknowledged
        operation = self.sent[index]
        expected = (index + 1, operation.error)
        if (reply.xid, reply.error) != expected:
            raise Lost(f"{self.root}: {operation} answered {reply}, expected {expected}")
        if reply.zxid <= self.last_acknowledged_zxid:
            raise Lost(f"{self.root}: zxid {reply.zxid:#x} after {self.last_acknowledged_zxid:#x}")
        if operation.results is not None:
            errors = [error for _, error, _ in wire.decode_multi(wire.Decoder(reply.body))]
            if errors != operation.results:
                raise Lost(f"{self.root}: multi answered {errors}, expected {operation.results}")
        elif operation.name == "create" and operation.error == 0:
            path = wire.Decoder(reply.body).string()
            [key] = operation.effects
            if key.startswith("seq:"):
                self.sequential[key] = path
                self.numbers.add((reply.zxid, int(path[-10:])))
            elif path != key:
                raise Lost(f"create of {key} answered {path}")
        self.acknowledged += 1
        self.zxids[index] = reply.zxid
        self.last_acknowledged_zxid = reply.zxid

    # Operations

    def choose(self):
        mine = [key for key, node in self.expected.items() if node and key.startswith(self.root)]
        if len(mine) < 4:
            return self.make_create()
        if len(mine) > NODES_MAX:
            return self.make_delete(self.random.choice(mine))
        known = [key for key in self.sequential if self.expected.get(key)]
        if len(known) > NODES_MAX:
            return self.make_sequential_delete(known)
        path = self.random.choice(mine)
        kind = self.random.choices(
            ["create", "set", "delete", "multi", "sequential", "delete sequential", "error",
             "failing multi"], [20, 30, 10, 12, 12, 8, 4, 4])[0]
        if kind == "create":
            return self.make_create()
        if kind == "set":
            return self.make_set(path)
        if kind == "delete":
            return self.make_delete(path)
        if kind == "sequential":
            key = f"seq:{self.root}:{self.next_tag()}"
            flags = self.random.choice([wire.SEQUENTIAL, wire.EPHEMERAL_SEQUENTIAL])
            node = Node(key.encode(), 0, flags == wire.EPHEMERAL_SEQUENTIAL, self.index, self.index)
            body = wire.create("/seq/s-", node.data, flags=flags)
            return Operation("create", body, 0, {key: node})
        if kind == "delete sequential":
            return self.make_sequential_delete(known) if len(known) > 4 else self.make_set(path)
        if kind == "multi":
            create, change = self.make_create(), self.make_set(path)
            parts, effects = [create, change], create.effects | change.effects
            other = self.random.choice(mine)
            if other != path:
                parts.append(self.make_delete(other))
                effects |= parts[-1].effects
            return Operation("multi", wire.multi(*((part.name, part.body) for part in parts)), 0,
                             effects, [0] * len(parts))
        if kind == "failing multi":
            change = self.make_set(path)
            body = wire.multi((change.name, change.body),
                              ("check", wire.path_version(path, 1 << 30)),
                              ("delete", wire.path_version(path)))
            return Operation("multi", body, 0, {},
                             [0, wire.BADVERSION, wire.RUNTIMEINCONSISTENCY])
        return self.random.choice([
            Operation("create", wire.create(path), wire.NODEEXISTS, {}),
            Operation("setData", wire.set_data(path, b"never", 1 << 30), wire.BADVERSION, {}),
            Operation("delete", wire.path_version(self.root + "/none"), wire.NONODE, {})])

    @property
    def index(self):
        return len(self.sent)

    def next_tag(self):
        self.counter += 1
        return self.counter

    def some_data(self):
        """Unlike any other data of this writer."""
        filler = b"x" * self.random.choice([0, 0, 0, 10, 100, 3000])
        return b"%d:" % self.next_tag() + filler

    def make_create(self):
        path = f"{self.root}/n{self.next_tag()}"
        flags = self.random.choice([wire.PERSISTENT, wire.PERSISTENT, wire.EPHEMERAL])
        node = Node(self.some_data(), 0, flags == wire.EPHEMERAL, self.index, self.index)
        return Operation("create", wire.create(path, node.data, flags=flags), 0, {path: node})

    def make_set(self, path):
        old = self.expected[path]
        new = old._replace(data=self.some_data(), version=old.version + 1, modified=self.index)
        version = self.random.choice([-1, old.version])
        return Operation("setData", wire.set_data(path, new.data, version), 0, {path: new})

    def make_sequential_delete(self, keys):
        key = self.random.choice(keys)
        return Operation("delete", wire.path_version(self.sequential[key]), 0, {key: None})

    def make_delete(self, path):
        version = self.random.choice([-1, self.expected[path].version])
        return Operation("delete", wire.path_version(path, version), 0, {path: None})

    # The check

    def check(self, observed):
        """Takes over what the server has, {key: (data, stat)}, if it follows from the writes."""
        seen = {key: value for key, value in observed.items()
                if key.startswith((self.root + "/", f"seq:{self.root}:"))}
        state = dict(self.state)
        for operation in self.sent[:self.acknowledged]:
            state.update(operation.effects)
        candidates = []
        for applied in range(self.acknowledged, len(self.sent) + 1):
            if applied > self.acknowledged:
                state.update(self.sent[applied - 1].effects)
            differences = self.differences(state, seen)
            if not differences:
                return self.take_over(state, seen)
            candidates.append((len(differences), applied, differences))
        _, applied, differences = min(candidates)
        raise Lost(f"{self.root}: sent {len(self.sent)} operations, {self.acknowledged} were "
                   f"acknowledged, and no number between gives what the server has; nearest is "
                   f"{applied}:\n  " + "\n  ".join(differences[:10]))

    def differences(self, state, seen):
        wanted = {key: node for key, node in state.items() if node}
        found = [f"{key} is lost" for key in wanted.keys() - seen.keys()]
        found += [f"{key} should not exist" for key in seen.keys() - wanted.keys()]
        for key in wanted.keys() & seen.keys():
            node, (data, stat) = wanted[key], seen[key]
            have = (data, stat.version, stat.ephemeralOwner)
            want = (node.data, node.version, self.session[0] if node.ephemeral else 0)
            if have != want:
                found.append(f"{key}: have {have}, want {want}")
            for zxid, index in ((stat.czxid, node.created), (stat.mzxid, node.modified)):
                if self.zxids.get(index, zxid) != zxid:
                    found.append(f"{key}: zxid {zxid:#x}, acknowledged was {self.zxids[index]:#x}")
        return found

    def take_over(self, state, seen):
        # Indexes are of this round: what was settled now has the index -1 - zxid.
        self.state = {}
        zxids = {}
        for key, node in state.items():
            if node:
                stat = seen[key][1]
                self.state[key] = node._replace(created=-1 - stat.czxid, modified=-1 - stat.mzxid)
                zxids |= {-1 - stat.czxid: stat.czxid, -1 - stat.mzxid: stat.mzxid}
        self.begin_round()
        self.zxids = zxids


class Observed(NamedTuple):
    """What all writers own, as one client sees it; sequential nodes have their data as key."""
    nodes: dict  # {key: (data, stat)}
    sequential: dict  # {key: path}


def observe(address):
    client = wire.Client(address, SESSION_MILLISECONDS)
    observed = Observed({}, {})
    for parent in client.children("/"):
        if parent == "zookeeper":
            continue
        paths = [f"/{parent}/{name}" for name in client.children(f"/{parent}")]
        for path in paths:
            client.send("getData", wire.path_watch(path))
        for path in paths:
            reply = client.reply()
            assert reply.error == 0, (path, reply)
            fields = wire.Decoder(reply.body)
            data, stat = fields.buffer(), fields.stat()
            key = path
            if parent == "seq":
                key = data.decode()
                if key in observed.sequential:
                    raise Lost(f"{key} was created twice, as {path} and {observed.sequential[key]}")
                observed.sequential[key] = path
            observed.nodes[key] = (data, stat)
    client.close_session()
    return observed


class World:
    """A server, its writers, and what must hold between a crash and the next."""

    def __init__(self, server, seed):
        self.server = server
        #: (zxid, number) of every sequential node that ever was acknowledged or seen.
        self.numbers = set()
        self.writers = [Writer(number, seed) for number in range(WRITERS)]
        setup = wire.Client(server.address)
        setup.create("/seq")
        setup.close_session()

    def load(self, until):
        """Lets all writers write; `until` returns when it's time to kill the server."""
        for writer in self.writers:
            writer.connect(self.server.address)
        threads = [threading.Thread(target=writer.run) for writer in self.writers]
        for thread in threads:
            thread.start()
        try:
            until()
        finally:
            self.server.kill()
            for thread in threads:
                thread.join()
        for writer in self.writers:
            if writer.failure:
                raise writer.failure

    def check(self, observed):
        for writer in self.writers:
            writer.check(observed.nodes)
            for key, path in writer.sequential.items():
                if observed.sequential.get(key, path) != path:
                    raise Lost(f"{key} was acknowledged as {path}, is {observed.sequential[key]}")
            writer.sequential = {key: observed.sequential[key] for key in writer.state
                                 if key in observed.sequential}
            self.numbers |= writer.numbers
        for key, path in observed.sequential.items():
            self.numbers.add((observed.nodes[key][1].czxid, int(path[-10:])))
        check_numbers(self.numbers)

    @property
    def acknowledged(self):
        return sum(writer.acknowledged for writer in self.writers)


def check_numbers(pairs):
    """Sequence numbers are unique for ever, and grow with the zxid."""
    pairs = sorted(pairs)
    for (zxid, number), (next_zxid, next_number) in zip(pairs, pairs[1:]):
        if next_number <= number:
            raise Lost(f"sequence number {number} at {zxid:#x}, {next_number} at {next_zxid:#x}")


def test_killed_at_random_moments_nothing_is_lost(make_server):
    print(f"CRASH_SEED={SEED} CRASH_ROUNDS={ROUNDS}")
    choices = random.Random(SEED)
    server = make_server(config=CONFIG)
    world = World(server, SEED)
    total = 0
    for number in range(ROUNDS):
        seconds = choices.choice([0.02, 0.1, 0.2, 0.4])
        world.load(until=lambda: time.sleep(choices.uniform(0, seconds)))  # the random moment
        total += world.acknowledged
        if choices.random() < 0.25:
            # A crash in the middle of the recovery from the crash.
            server.start(wait=False)
            time.sleep(choices.uniform(0, 0.05))  # the random moment
            server.kill()
        server.start()
        try:
            world.check(observe(server.address))
        except Lost as lost:
            raise Lost(f"round {number}, CRASH_SEED={SEED}, data in {server.data_dir}: "
                       f"{lost}") from None
    assert total > ROUNDS * WRITERS, f"only {total} writes were acknowledged: that tests nothing"
    assert len(server.files("snapshot.")) > 3, "no snapshot was written under load"
    print(f"{total} acknowledged writes, {len(server.files('log.'))} logs, "
          f"{len(server.files('snapshot.'))} snapshots")


# The checker itself

@pytest.fixture
def crashed_world(make_server):
    """A world after one crash and restart, and what the server has; nothing is checked yet."""
    server = make_server(config=CONFIG)
    world = World(server, SEED)
    world.load(until=lambda: harness.wait_until(lambda: world.acknowledged > 500, 20, "500 writes"))
    server.start()
    return world, observe(server.address)


def test_checker_reports_what_it_should(crashed_world):
    world, observed = crashed_world
    writer = world.writers[1]
    key = settled(writer)[-1]
    data, stat = observed.nodes[key]
    changes = [
        ("is lost", lambda nodes: nodes.pop(key)),
        ("should not exist", lambda nodes: nodes.update({"/w1/never": (b"never", stat)})),
        ("have", lambda nodes: nodes.update({key: (data + b"?", stat)})),
        ("have", lambda nodes: nodes.update({key: (data, stat._replace(version=77))})),
        ("have", lambda nodes: nodes.update({key: (data, stat._replace(ephemeralOwner=77))})),
        ("zxid", lambda nodes: nodes.update({key: (data, stat._replace(mzxid=1))}))]
    for message, change in changes:
        nodes = dict(observed.nodes)
        change(nodes)
        with pytest.raises(Lost, match=message):
            writer.check(nodes)
    for pairs in ({(5, 1), (6, 1)}, {(5, 2), (6, 1)}):
        with pytest.raises(Lost, match="sequence number"):
            check_numbers(pairs)
    world.check(observed)


def settled(writer):
    """The keys that an acknowledged operation wrote and no unacknowledged one touches."""
    state = dict(writer.state)
    for operation in writer.sent[:writer.acknowledged]:
        state.update(operation.effects)
    for operation in writer.sent[writer.acknowledged:]:
        for key in operation.effects:
            state.pop(key, None)
    return [key for key, node in state.items() if node]


def test_checker_reports_a_server_that_lost_the_last_acknowledged_write(make_server):
    """The same with a real server: its newest acknowledged record is cut from the log."""
    server = make_server(config=CONFIG | {"snapCount": 100_000})
    world = World(server, SEED)
    writer = world.writers[0]
    writer.connect(server.address)
    operation = writer.make_create()
    writer.sent.append(operation)
    writer.client.send_bytes(wire.request(1, operation.name, operation.body))
    writer.receive()
    server.kill()
    writer.client.close()

    log = storage_files.files(server.data_dir, "log")[-1]
    last = storage_files.records(log)[-1]
    assert last.zxid == writer.last_acknowledged_zxid
    os.truncate(log, last.offset)
    server.start()
    # A client that has seen more than the server has isn't served.
    with pytest.raises(wire.Closed):
        writer.connect(server.address)
    with pytest.raises(Lost, match="is lost"):
        writer.check(observe(server.address).nodes)


# Damage

class Damaged(NamedTuple):
    """A small dataDir after kill -9, its only log with records in it, and the tree at each zxid."""
    data_dir: str
    log_name: str
    records: list
    trees: dict

    def log(self, data_dir):
        return storage_files.version_dir(data_dir) / self.log_name

    @property
    def last(self):
        return self.records[-1]

    @property
    def tree_before_last(self):
        return self.trees[self.records[-2].zxid]


def tree(client):
    """{path: (data, stat)} of all nodes that aren't ZooKeeper's own."""
    found, waiting = {}, ["/"]
    while waiting:
        path = waiting.pop()
        for name in client.children(path):
            child = path.rstrip("/") + "/" + name
            if child != "/zookeeper":
                found[child] = client.get(child)
                waiting.append(child)
    return found


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("damage") / "data"
    trees = {}
    with harness.Server(data_dir=data_dir, config=CONFIG | {"snapCount": 100_000}) as server:
        # The session outlives all starts, so that nothing but the damage changes the tree.
        client = wire.Client(server.address, 40_000)
        for step in (lambda: client.create("/a", b"first"),
                     lambda: client.create("/a/eph", b"e", wire.EPHEMERAL),
                     lambda: client.set("/a", b"second"),
                     lambda: client.multi(("create", wire.create("/m", b"1")),
                                          ("setData", wire.set_data("/a", b"third"))),
                     lambda: client.create("/a/seq-", b"s", wire.SEQUENTIAL),
                     lambda: client.set("/m", b"the last record of the log")):
            step()
            trees[client.zxid] = tree(client)
        server.kill()
        client.close()
    [log] = storage_files.files(data_dir, "log")
    records = storage_files.records(log)
    assert [record.zxid for record in records[-6:]] == list(trees)
    return Damaged(str(data_dir), log.name, records, trees)


class Outcome(NamedTuple):
    tree: Optional[dict]  # None: refused
    log: str
    data_dir: str


def start_with(damaged, tmp_path, change):
    """Starts the server on a copy of which `change(log)` has damaged the log."""
    data_dir = tmp_path / "data"
    shutil.rmtree(data_dir, ignore_errors=True)
    shutil.copytree(damaged.data_dir, data_dir)
    change(damaged.log(data_dir))
    server = harness.Server(data_dir=data_dir, config=CONFIG)
    try:
        server.start()
        with wire.Client(server.address) as client:
            found = tree(client)
            client.close_session()
        return Outcome(found, server.log_text(), data_dir)
    except harness.StartFailure:
        status = server.process.poll()
        assert status is not None and status > 0, f"exit status {status}\n{server.log_tail()}"
        return Outcome(None, server.log_text(), data_dir)
    finally:
        server.close()


def flip(offset, mask):
    def change(log):
        with open(log, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ mask]))
    return change


def zero(offset, count):
    def change(log):
        with open(log, "r+b") as file:
            file.seek(offset)
            file.write(bytes(count))
    return change


def assert_refused_with_reason(outcome, damaged, record):
    assert outcome.tree is None, "started from a damaged log"
    if harness.default_kind() == "aviary":
        assert damaged.log_name in outcome.log, outcome.log
        assert re.search(rf"\b{record.offset}\b", outcome.log), \
            f"the offset {record.offset} of the damage is not named\n{outcome.log}"


def test_undamaged_log_starts_with_everything(damaged, tmp_path):
    outcome = start_with(damaged, tmp_path, lambda log: None)
    assert outcome.tree == damaged.trees[damaged.last.zxid]


def test_last_record_cut_at_every_byte(damaged, tmp_path):
    for offset in range(damaged.last.offset, damaged.last.end, DAMAGE_STEP):
        outcome = start_with(damaged, tmp_path, lambda log: os.truncate(log, offset))
        assert outcome.tree == damaged.tree_before_last, \
            f"cut at byte {offset} of {damaged.last}\n{outcome.log}"


def test_last_record_zeroed_from_every_byte(damaged, tmp_path):
    """What a crash of the machine leaves of a preallocated file: a record whose end never came."""
    for offset in range(damaged.last.offset, damaged.last.end, DAMAGE_STEP * 4):
        outcome = start_with(damaged, tmp_path, zero(offset, damaged.last.end - offset))
        assert outcome.tree == damaged.tree_before_last, \
            f"zeros from byte {offset} of {damaged.last}\n{outcome.log}"


def test_last_record_garbled_at_every_byte(damaged, tmp_path):
    last = damaged.last
    for offset in range(last.offset, last.end, DAMAGE_STEP):
        mask = 1 << offset % 8
        outcome = start_with(damaged, tmp_path, flip(offset, mask))
        where = f"bit {mask:#x} of byte {offset} flipped in {last}\n{outcome.log}"
        whole_record = offset < last.offset + 8 or last.body <= offset < last.end - 1
        if whole_record:
            assert_refused_with_reason(outcome, damaged, last)
        elif offset == last.end - 1:
            assert outcome.tree == damaged.tree_before_last, where
        elif outcome.tree is None:  # a length that no torn write leaves
            assert_refused_with_reason(outcome, damaged, last)
        else:
            assert outcome.tree == damaged.tree_before_last, where


def test_garbled_record_in_the_middle_is_refused(damaged, tmp_path):
    middle = damaged.records[-4]
    offsets = [middle.offset + 4, middle.offset + 7, middle.body, middle.end - 2]
    for offset in offsets:
        outcome = start_with(damaged, tmp_path, flip(offset, 0x10))
        assert_refused_with_reason(outcome, damaged, middle)


@pytest.mark.parametrize("part", ["checksum", "length", "body", "end"])
def test_writes_after_a_torn_record_survive(damaged, tmp_path, part):
    last = damaged.last
    offset = {"checksum": last.offset + 3, "length": last.offset + 10, "body": last.body + 20,
              "end": last.end - 1}[part]
    outcome = start_with(damaged, tmp_path, lambda log: os.truncate(log, offset))
    assert outcome.tree == damaged.tree_before_last
    with harness.Server(data_dir=outcome.data_dir, config=CONFIG) as server:
        with wire.Client(server.address, 40_000) as client:
            client.create("/after", b"the tear")
            assert client.zxid > damaged.last.zxid
            expected = tree(client)
            zxid = client.zxid
        for crash in (True, False, True):
            server.restart(crash=crash)
            with wire.Client(server.address, 40_000, last_zxid=zxid) as client:
                assert tree(client) == expected
                zxid = client.zxid


def test_header_of_a_log_that_never_got_a_record(damaged, tmp_path):
    """A crash right after a log was made: header only, or header and zeros."""
    name = f"log.{damaged.last.zxid + 1:x}"
    header = struct.pack(">4siq", b"ZKLG", 2, 0)
    for content in (header, header + bytes(16384)):
        outcome = start_with(damaged, tmp_path,
                             lambda log: log.with_name(name).write_bytes(content))
        assert outcome.tree == damaged.trees[damaged.last.zxid], outcome.log
