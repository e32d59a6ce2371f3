#!/usr/bin/env python3
"""Measures three Aviary servers side by side with three of Apache ZooKeeper, all on this machine.

Both ensembles run at the same time, on directories and ports of their own and with the same
configuration; the same load visits them in turn, round after round. The figures are medians over
the rounds.

    python3 bench/ensemble.py                       everything (about a quarter of an hour)
    python3 bench/ensemble.py --quick               small sizes, one round (about two minutes)
    python3 bench/ensemble.py --only sets,failover  some of it
    python3 bench/ensemble.py --list                what there is

The result is a Markdown table on stdout; what goes on meanwhile is told on stderr.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import platform
import random
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import run
from run import median, say

SERVERS = 3
WAIT_SECONDS = 120
#: How long successes are looked at behind the first one after a leader's death.
AFTERMATH_SECONDS = 2
#: Until an ensemble has done what its start, or a long load, left for later (a snapshot, say).
REST_SECONDS = 5
#: Of a load, before it counts.
WARMUP_SECONDS = 1
LOOPBACK = "127.0.0.1"


def wait_until(condition, what, every=0.02):
    """Polls until there is a value, and returns that."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {WAIT_SECONDS} s")
        time.sleep(every)
    return value


# Ensembles


class Ensemble:
    """Three servers of one kind."""

    def __init__(self, kind, directory, options):
        self.name = kind.name
        self.options = options
        self.members = []
        for server_id in range(1, SERVERS + 1):
            member = kind(os.path.join(directory, f"server-{server_id}"), options)
            member.port, member.quorum_port, member.election_port = listening_ports(3)
            path = os.path.join(member.directory, "data", "myid")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{server_id}\n")
            self.members.append(member)

    @property
    def running(self):
        return [member for member in self.members if member.process is not None]

    @property
    def hosts(self):
        """The connect string of all that run."""
        return ",".join(f"{LOOPBACK}:{member.port}" for member in self.running)

    def start(self):
        for member in self.members:
            self.launch(member)
        self.wait_in_step()

    def launch(self, member):
        """Starts one server and does not wait: alone it serves nobody."""
        keys = {"tickTime": self.options.tick, "initLimit": 10, "syncLimit": 5}
        for server_id, other in enumerate(self.members, 1):
            keys[f"server.{server_id}"] = f"{LOOPBACK}:{other.quorum_port}:{other.election_port}"
        command = member.command(member.configuration(member.port, keys))
        if shutil.which("setpriv"):
            # Nothing stays behind, even if this process is killed.
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        member.log = open(os.path.join(member.directory, "log"), "ab")
        member.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=member.log, stderr=member.log,
            cwd=member.directory, start_new_session=True)

    def kill(self, member):
        """As kill -9; returns when the process is gone."""
        member.process.kill()
        member.process.wait()
        member.process = None
        member.log.close()

    def stop(self):
        for member in self.running:
            member.process.terminate()
        for member in self.running:
            member.stop()

    def resident_bytes(self):
        return sum(member.resident_bytes() for member in self.members)

    # What the servers say

    def status(self, member):
        """(mode, zxid), or nothing while the server does not serve."""
        if member.process.poll() is not None:
            raise SystemExit(f"{self.name} ended by itself, see {keep(member.log.name)}")
        answer = run.four_letter_word(member.port, b"srvr").decode()
        fields = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
        return (fields["Mode"], int(fields["Zxid"], 16)) if "Mode" in fields else None

    def with_mode(self, mode):
        return [member for member in self.running
                if (status := self.status(member)) and status[0] == mode]

    def leader(self):
        [leader] = self.with_mode("leader")
        return leader

    def wait_in_step(self):
        """Waits until all that run serve, and have what the leader has."""
        leader, zxid = wait_until(self._formed_leader, f"{self.name}: an ensemble", every=0.05)
        # A new epoch is a zxid that no follower has to have seen.
        if zxid & 0xFFFF_FFFF:
            for member in self.running:
                if member is not leader:
                    self.wait_caught_up(member, zxid)

    def wait_caught_up(self, member, zxid, every=0.02):
        def has_it():
            status = self.status(member)
            return status is not None and status[1] >= zxid
        wait_until(has_it, f"{self.name}: a server in step", every)

    def _formed_leader(self):
        """The leader and its zxid, if there is one and all others follow it."""
        statuses = [(member, self.status(member)) for member in self.running]
        modes = sorted(status[0] if status else "" for _, status in statuses)
        if modes != ["follower"] * (len(statuses) - 1) + ["leader"]:
            return None
        [(leader, status)] = [pair for pair in statuses if pair[1][0] == "leader"]
        numbers = dict(line.split("\t", 1) for line in run.four_letter_word(
            leader.port, b"mntr").decode().splitlines() if "\t" in line)
        synced = int(float(numbers.get("zk_synced_followers", "0")))
        return (leader, status[1]) if synced == len(statuses) - 1 else None


_ports_given = set()


def listening_ports(count):
    """Free ports that no outgoing connection takes while the server they are for is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first_outgoing = int(file.read().split()[0])
    ports = []
    while len(ports) < count:
        port = random.randrange(10_000, first_outgoing)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in _ports_given:
                _ports_given.add(port)
                ports.append(port)
    return ports


def keep(log):
    """Copies a log out of the directory that is removed at the end; returns where it is."""
    handle, copy = tempfile.mkstemp(prefix="bench-", suffix=".log")
    os.close(handle)
    return shutil.copy(log, copy)


class Load(run.Load):
    """Runs zkBench with its sessions spread over the running servers of an ensemble."""

    def command(self, server, workload, **arguments):
        command = super().command(server.members[0], workload, **arguments)
        command[command.index("--hosts") + 1] = server.hosts
        return command


# A load with a clock


#: What zkBench's workload `load` makes first.
ZNODE = b"/bench/d0000/n000000000"
SET = (struct.pack(">ii", 5, len(ZNODE)) + ZNODE + struct.pack(">i", 100) + b"v" * 100
       + struct.pack(">i", -1))
SESSION_EXPIRED = -112


class Link:
    """A session at one server, connected anew whenever the connection is lost."""

    RETRY_SECONDS = 0.01
    #: How long a server may take to take the session, and to answer a request.
    HANDSHAKE_SECONDS = 0.5
    ANSWER_SECONDS = 10
    SESSION_MILLISECONDS = 30_000
    NO_SESSION = 0, b"\0" * 16

    def __init__(self, load, port):
        self.load = load
        self.port = port
        self.socket = None
        self.is_open = False
        self.session = self.NO_SESSION
        self.zxid = 0
        self.xid = 0
        self.retry_at = 0
        #: (due, sent) of each request under way.
        self.pending = collections.deque()

    def look_after(self, now):
        """Connects, or gives up on a server that does not answer."""
        if self.socket is None:
            if now >= self.retry_at:
                self._connect(now)
        elif not self.is_open:
            if now > self.connected_at + self.HANDSHAKE_SECONDS:
                self.close(now)
        elif self.pending and now > self.pending[0][1] + self.ANSWER_SECONDS:
            self.close(now)

    def _connect(self, now):
        try:
            self.socket = socket.create_connection((LOOPBACK, self.port), 0.1)
        except OSError:
            self.retry_at = now + self.RETRY_SECONDS
            return
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.load.selector.register(self.socket, selectors.EVENT_READ, self)
        self.connected_at = now
        self.input, self.output = bytearray(), bytearray()
        session_id, password = self.session
        self._frame(struct.pack(
            ">iqiqi16s?", 0, self.zxid, self.SESSION_MILLISECONDS, session_id, 16, password, False))
        self.flush()

    def close(self, now):
        """What is not answered is due again."""
        if self.socket is None:
            return
        self.load.selector.unregister(self.socket)
        self.socket.close()
        self.socket = None
        self.is_open = False
        self.retry_at = now + self.RETRY_SECONDS
        self.load.due.extendleft(due for due, _ in reversed(self.pending))
        self.pending.clear()

    def ask(self, due, now):
        self.xid += 1
        self._frame(struct.pack(">i", self.xid) + SET)
        self.pending.append((due, now))

    def _frame(self, payload):
        self.output += struct.pack(">i", len(payload)) + payload

    def flush(self):
        """Sends what is there; returns False when some of it has to wait."""
        with contextlib.suppress(BlockingIOError):
            try:
                while self.output:
                    del self.output[:self.socket.send(self.output)]
            except (ConnectionError, TimeoutError):
                self.output.clear()  # The end of the connection is read next.
        return not self.output

    def receive(self):
        try:
            chunk = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        now = time.monotonic()
        if not chunk:
            return self.close(now)
        self.input += chunk
        while self.socket is not None and len(self.input) >= 4:
            end = 4 + int.from_bytes(self.input[:4], "big")
            if len(self.input) < end:
                return
            frame = bytes(self.input[4:end])
            del self.input[:end]
            (self._answered if self.is_open else self._opened)(frame, now)

    def _opened(self, frame, now):
        _, timeout, session_id, _, password = struct.unpack_from(">iiqi16s", frame)
        if timeout <= 0:
            self.session = self.NO_SESSION
            return self.close(now)
        self.session = session_id, password
        self.is_open = True

    def _answered(self, frame, now):
        _, zxid, error = struct.unpack_from(">iqi", frame)
        self.zxid = max(self.zxid, zxid)
        if error == 0:
            return self.load.answers.append(Answer(self.pending.popleft()[0], now))
        self.load.errors[error] += 1
        if error == SESSION_EXPIRED:
            self.session = self.NO_SESSION
        self.close(now)


@dataclasses.dataclass(slots=True)
class Answer:
    """When a request was due, and when its success was known, in seconds."""

    due: float
    at: float


class OpenLoad:
    """Writes at a fixed rate, whether or not the ones before are answered.

    There is a session at each server, and they take turns; what is lost with a connection is asked
    again, and while no server takes requests they wait.
    """

    def __init__(self, members, rate):
        self.step = 1 / rate
        self.due = collections.deque()
        self.answers = []
        self.errors = collections.Counter()
        # The timeouts of other selectors are whole milliseconds.
        self.selector = selectors.SelectSelector()
        self.links = [Link(self, member.port) for member in members]
        self.stopping = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        """Returns when every server answers."""
        self.thread.start()
        wait_until(lambda: self.failure or all(link.is_open for link in self.links),
                   "a session at each server")
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        for link in self.links:
            link.close(0)
        self.selector.close()
        if self.failure is not None:
            raise self.failure
        if self.errors:
            say(f"  errors: {dict(self.errors)}")

    def _run(self):
        try:
            turn = itertools.cycle(self.links)
            next_due = time.monotonic()
            while not self.stopping.is_set():
                now = time.monotonic()
                for link in self.links:
                    link.look_after(now)
                while next_due <= now:
                    self.due.append(next_due)
                    next_due += self.step
                self._send(turn, now)
                for key, _ in self.selector.select(max(0, next_due - time.monotonic())):
                    key.data.receive()
        except BaseException as failure:  # Raised by __exit__.
            self.failure = failure

    def _send(self, turn, now):
        if not any(link.is_open for link in self.links):
            return
        while self.due:
            link = next(link for link in turn if link.is_open)
            link.ask(self.due.popleft(), now)
        for link in self.links:
            # A full socket gets the rest in the next turn, within a step.
            if link.is_open:
                link.flush()

    def wait_success(self, since):
        """Waits for the success of a request that was due after a moment."""
        wait_until(lambda: self.failure or any(
            answer.due > since for answer in reversed(self.answers[-1000:])), "a success", 0.005)

    def longest_gap(self, since):
        """The longest time without a success, in seconds."""
        times = sorted(answer.at for answer in self.answers if answer.at >= since)
        return max(after - before for before, after in zip(times, times[1:]))



# Results


@dataclasses.dataclass
class Aim:
    """What a row should show: how many times better than Apache, or a figure of ours."""

    ratio: float | None = None
    below: float | None = None

    def __str__(self):
        return f"at least {self.ratio:g}x" if self.ratio else f"below {self.below:g}"


class Table(run.Table):
    def __init__(self, names):
        super().__init__(names)
        self.aims = {}

    def add(self, title, unit, values, more=False, digits=1, aim=None):
        super().add(title, unit, values, more, digits)
        self.aims[title] = aim

    @staticmethod
    def ratio(row):
        ours, theirs = row.values.get("Aviary"), row.values.get("Apache")
        if not ours or not theirs or row.more is None:
            return None
        return ours / theirs if row.more else theirs / ours

    def is_met(self, row):
        """None: there is no aim, or nothing to compare with."""
        aim, ratio, ours = self.aims[row.title], self.ratio(row), row.values.get("Aviary")
        if aim is None:
            return None
        if aim.ratio:
            return None if ratio is None else ratio >= aim.ratio
        return None if ours is None else ours < aim.below

    def markdown(self):
        head = ["", *self.names, "Aviary is better by", "aim", ""]
        lines = [head, ["---"] + ["---:"] * (len(head) - 2) + ["---"]]
        for row in self.rows:
            lines.append([
                f"{row.title} ({row.unit})" if row.unit else row.title,
                *(self.figure(row, name) for name in self.names), row.ratio(),
                str(self.aims[row.title] or ""),
                {True: "met", False: "missed", None: ""}[self.is_met(row)]])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def plain(self):
        """The rows as what JSON knows."""
        return [{
            "title": row.title, "unit": row.unit, "values": row.values, "ratio": self.ratio(row),
            "aim": str(self.aims[row.title] or "") or None, "met": self.is_met(row),
        } for row in self.rows]


# Measurements


class Bench(run.Bench):
    def __init__(self, options, directory):
        super().__init__(options, directory)
        self.load = Load(options)
        self.table = Table([kind.name for kind in self.kinds])
        #: Measurement to name of the ensemble to what was seen each time.
        self.raw = collections.defaultdict(dict)

    def wants(self, kind):
        return kind.stores and super().wants(kind)

    @contextlib.contextmanager
    def ensembles(self, kinds=None):
        """All of them, fresh and running."""
        ensembles = []
        try:
            for kind in kinds or self.kinds:
                ensembles.append(Ensemble(kind, self.directory, self.options))
                ensembles[-1].start()
            yield ensembles
        finally:
            for ensemble in ensembles:
                ensemble.stop()

    def fill(self, servers, znodes):
        for ensemble in servers:
            self.load.run(ensemble, "load", znodes=znodes, keep=True)
            ensemble.wait_in_step()  # Or a follower would answer that there is no such znode.

    def visits(self, name, ensembles, workload, **arguments):
        """The reports of the rounds, behind one that only warms up, for the compiler of the JVM."""
        for ensemble in ensembles:
            self.load.run(
                ensemble, workload, warmup=0, duration=self.options.seconds, **arguments)
        reports = self.rounds(ensembles, lambda ensemble: self.load.run(
            ensemble, workload, warmup=1, duration=self.options.seconds, **arguments))
        self.raw[name] = reports
        return reports

    def add_load(self, title, unit, reports, count, aim=None):
        self.table.add(
            title, unit, self.medians(reports, lambda report: report[count] / report["seconds"]),
            more=True, digits=0, aim=aim)
        for share in "p50", "p99":
            self.table.add(
                f"{title}, latency {share}", "µs",
                self.medians(reports, lambda report: report["latencyMicroseconds"][share]),
                digits=0)

    def sets(self):
        """setData with a flush to the disk at a quorum, pipelined, over all three servers."""
        self.writes("set")

    def creates(self):
        """create with a flush to the disk at a quorum, pipelined, over all three servers."""
        self.writes("create")

    def writes(self, workload):
        with self.ensembles() as ensembles:
            reports = self.visits(workload + "s", ensembles, workload, sessions=50, depth=16)
        self.add_load(
            f"{workload}, 50 sessions, depth 16", "requests/s", reports, "requests", Aim(ratio=4))

    def gets(self):
        """getData of 10,000 znodes, pipelined, over all three servers."""
        znodes = 10_000
        with self.ensembles() as ensembles:
            self.fill(ensembles, znodes)
            reports = self.visits(
                "gets", ensembles, "get", znodes=znodes, reuse=True, sessions=50, depth=16)
        self.add_load("get, 50 sessions, depth 16", "requests/s", reports, "requests", Aim(ratio=6))

    def events(self):
        """Watch events: of znodes that each session changes itself, and of one that many watch."""
        znodes, watchers = 4, self.options.watchers
        with self.ensembles() as ensembles:
            own = self.visits("events", ensembles, "watch", sessions=50, depth=16)
            self.fill(ensembles, znodes)
            shared = self.visits(
                "fan-out", ensembles, "fan-out", znodes=znodes, depth=znodes, reuse=True,
                sessions=watchers + 1)
        self.add_load(
            "watch events, 50 sessions, depth 16", "events/s", own, "events", Aim(ratio=5))
        self.add_load(
            f"watch events, {watchers:,} sessions, one writer of {znodes} znodes", "events/s",
            shared, "events")

    def memory(self):
        """Three empty servers: resident memory, summed up."""
        resident = self.raw["memory"]
        for _ in range(self.options.rounds):
            for kind in self.kinds:
                with self.ensembles([kind]) as [ensemble]:
                    time.sleep(REST_SECONDS)
                    resident.setdefault(kind.name, []).append(ensemble.resident_bytes())
        self.table.add(
            "resident memory of three empty servers", "MB",
            {name: median(values) / 1e6 for name, values in resident.items()}, aim=Aim(ratio=10))

    def failover(self):
        """kill -9 of the leader, again and again: the time without a successful write."""
        kills, gaps = self.options.kills, self.raw["failover"]
        with self.ensembles() as ensembles:
            self.fill(ensembles, 1)
            for number in range(kills):
                for ensemble in ensembles:
                    gap = self.time_without_success(ensemble)
                    gaps.setdefault(ensemble.name, []).append(gap)
                    say(f"  kill {number + 1}, {ensemble.name}: {gap * 1e3:.0f} ms")
        for title, pick in ("median", median), ("longest", max):
            self.table.add(
                f"no successful write when the leader is killed, {title} of {kills}", "ms",
                {name: pick(values) * 1e3 for name, values in gaps.items()}, digits=0,
                aim=Aim(ratio=2))

    def time_without_success(self, ensemble):
        with OpenLoad(ensemble.members, self.options.write_rate) as load:
            # Any moment between two ticks is as good.
            time.sleep(1 + random.uniform(0, self.options.tick / 1e3))
            leader = ensemble.leader()
            began = time.monotonic()
            ensemble.kill(leader)
            load.wait_success(since=time.monotonic())
            time.sleep(AFTERMATH_SECONDS)
        ensemble.launch(leader)
        ensemble.wait_in_step()
        return load.longest_gap(since=began - 0.5)

    def catchup(self):
        """A follower returns after many writes: how long, and what the leader's clients see."""
        writes = self.options.missed_writes
        seen = self.raw["catchup"]
        for _ in range(self.options.rounds):
            with self.ensembles() as ensembles:
                self.fill(ensembles, 1)
                for ensemble in ensembles:
                    seen.setdefault(ensemble.name, []).append(
                        self.return_of_follower(ensemble, writes))
        self.table.add(
            f"back in step after {writes:,} missed writes", "s",
            {name: median([one["seconds"] for one in all_]) for name, all_ in seen.items()},
            digits=2)
        for kind, share in itertools.product(("set", "get"), ("p99", "max")):
            before, during = (
                {name: median([one[when][kind]["latencyMicroseconds"][share] for one in all_]) / 1e3
                 for name, all_ in seen.items()}
                for when in ("before", "during"))
            for title, values in ("before", before), ("with", during):
                self.table.add(f"leader's {kind}s, {share} {title} that", "ms", values, digits=2)
            if share == "p99":
                self.table.add(
                    f"leader's {kind}s, p99 with it over before", "",
                    {name: during[name] / before[name] for name in seen}, more=None, digits=2,
                    aim=Aim(below=2))

    def return_of_follower(self, ensemble, writes):
        [follower, _] = ensemble.with_mode("follower")
        ensemble.kill(follower)
        ensemble.wait_in_step()
        self.load.run(ensemble, "load", znodes=writes, prefix="/missed", keep=True)
        time.sleep(REST_SECONDS)
        leader = ensemble.leader()
        before = self.finish(self.start_on_leader(leader))
        during = self.start_on_leader(leader)
        time.sleep(WARMUP_SECONDS + 1)
        zxid = ensemble.status(leader)[1]
        launched = time.monotonic()
        ensemble.launch(follower)
        ensemble.wait_caught_up(follower, zxid, every=0.01)
        seconds = time.monotonic() - launched
        say(f"  {ensemble.name}: {seconds:.2f} s")
        if seconds > 2 * self.options.seconds - 1:
            raise SystemExit(f"{seconds:.1f} s are more than the load was there for: --seconds")
        return {"seconds": seconds, "before": before, "during": self.finish(during)}

    def start_on_leader(self, leader):
        """Sets and gets at fixed times, over ten sessions each, all at one server."""
        return {
            kind: run.Load(self.options).start(
                leader, kind, prefix=f"/{kind}", znodes=100, sessions=10,
                rate=self.options.leader_rate, warmup=WARMUP_SECONDS,
                duration=2 * self.options.seconds)
            for kind in ("set", "get")}

    @staticmethod
    def finish(loads):
        return {kind: json.loads(process.communicate()[0]) for kind, process in loads.items()}


MEASUREMENTS = ["sets", "creates", "gets", "events", "memory", "failover", "catchup"]


def parse(arguments):
    parser = run.common_parser(__doc__, "aviary, apache")
    parser.add_argument("--kills", type=int, help="of each ensemble's leader (20)")
    parser.add_argument("--missed-writes", type=int, help="while a follower is away (100,000)")
    parser.add_argument("--watchers", type=int, default=999, help="sessions that watch")
    parser.add_argument(
        "--write-rate", type=float, default=200, help="writes per second while leaders are killed")
    parser.add_argument(
        "--leader-rate", type=float, default=1000,
        help="writes and reads per second, each, while a follower returns")
    parser.add_argument("--tick", type=int, default=2000, help="tickTime in milliseconds")
    parser.add_argument("--json", help="also write the table, and all it is made of, to this file")
    options = run.parse_common(parser, arguments)
    small = options.quick
    options.kills = options.kills or (3 if small else 20)
    options.missed_writes = options.missed_writes or (20_000 if small else 100_000)
    return options


def write_json(bench, options):
    result = {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform()},
        "options": vars(options), "rows": bench.table.plain(), "raw": bench.raw,
    }
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


def main(arguments):
    options = parse(arguments)
    bench = run.measure(Bench, MEASUREMENTS, options)
    if bench is not None:
        run.write_table(bench, options)
        if options.json:
            write_json(bench, options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
