#!/usr/bin/env python3
"""Measures Aviary side by side with Apache ZooKeeper and a bare libuv loop.

Every server gets a port and a fresh directory of its own; the same load (zkBench) visits them in
turn, round after round, so that a busy moment of the machine hits all of them. The figures are
medians over the rounds.

    python3 bench/run.py                      everything (about half an hour)
    python3 bench/run.py --quick              a tenth of the sizes, one round
    python3 bench/run.py --only gets,sets     some of it
    python3 bench/run.py --list               what there is

The result is a Markdown table on stdout; what goes on meanwhile is told on stderr.
"""

import argparse
import contextlib
import dataclasses
import glob
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_SECONDS = 300


def say(text):
    print(text, file=sys.stderr, flush=True)


def median(values):
    return statistics.median(values) if values else None


# Servers


class Server:
    """A server process: start it, ask how it is, stop it."""

    name = ""
    #: Keeps znodes: can be asked for more than canned answers.
    stores = True

    def __init__(self, directory, options):
        self.directory = os.path.join(directory, self.name.lower().replace(" ", "-"))
        self.options = options
        self.process = None
        self.port = None
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(os.path.join(self.directory, "data"))

    def configuration(self, port, extra):
        lines = {
            "tickTime": 2000,
            "dataDir": os.path.join(self.directory, "data"),
            "clientPort": port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **extra,
        }
        path = os.path.join(self.directory, "zoo.cfg")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{key}={value}\n" for key, value in lines.items())
        return path

    def command(self, path):
        raise NotImplementedError

    def start(self, **extra):
        """Starts and waits until it serves; returns how many seconds that took."""
        extra = {key.replace("_", "."): value for key, value in extra.items()}
        self.port = free_port()
        command = self.command(self.configuration(self.port, extra))
        self.log = open(os.path.join(self.directory, "log"), "ab")
        began = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, cwd=self.directory, start_new_session=True)
        while not self.serves():
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended at its start, see {self.log.name}")
            if time.monotonic() - began > START_SECONDS:
                raise SystemExit(f"{self.name} does not serve, see {self.log.name}")
            time.sleep(0.001)
        return time.monotonic() - began

    def serves(self):
        # Apache answers `ruok` before it opens sessions.
        return b"Mode: " in four_letter_word(self.port, b"srvr")

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.log.close()

    def cpu_seconds(self):
        """User and system time of the process so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def memory_in_use(self):
        """What the data need: resident memory, or the live heap where there is a collector."""
        return self.resident_bytes()


class Aviary(Server):
    name = "Aviary"

    def command(self, path):
        return [self.options.server, "start-foreground", path]

    @staticmethod
    def find(options):
        if os.path.exists(options.server):
            return True
        say(f"no {options.server}: build it with `swift build -c release`")
        return False


class Apache(Server):
    name = "Apache"

    def command(self, path):
        return [
            "java", f"-Xmx{self.options.apache_heap}", "-Dzookeeper.log.dir=" + self.directory,
            "-cp", self.options.apache_classpath,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", path]

    def memory_in_use(self):
        if not shutil.which("jcmd"):
            return self.resident_bytes()
        pid = str(self.process.pid)
        subprocess.run(["jcmd", pid, "GC.run"], check=True, stdout=subprocess.DEVNULL)
        heap = subprocess.run(
            ["jcmd", pid, "GC.heap_info"], check=True, capture_output=True, text=True).stdout
        return int(re.search(r"heap\s+total \d+K, used (\d+)K", heap).group(1)) * 1024

    @staticmethod
    def find(options):
        if options.apache_classpath and shutil.which("java"):
            return True
        say("no Apache ZooKeeper (or no java): measuring without it")
        return False


class Loop(Server):
    name = "C loop"
    stores = False

    def command(self, path):
        del path
        return [self.options.loop, str(self.port)]

    def serves(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    @staticmethod
    def find(options):
        source = os.path.join(ROOT, "bench", "loop.c")
        compiler = shutil.which("cc")
        if compiler is None:
            say("no C compiler: measuring without the bare loop")
            return False
        subprocess.run(
            [compiler, "-O2", "-o", options.loop, source, "-luv"], check=True)
        return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def four_letter_word(port, word):
    """The answer, or nothing while nobody listens."""
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(word)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer
    return b""


def apache_classpath():
    """Of a binary distribution in ZOOKEEPER_HOME, or of Debian's packages."""
    home = os.environ.get("ZOOKEEPER_HOME")
    if home:
        return ":".join(sorted(glob.glob(os.path.join(home, "lib", "*.jar"))))
    jars = "/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-nop.jar"
    return ":".join(jars) if os.path.exists(jars[0]) else ""


# Load


class Load:
    """Runs zkBench against a server."""

    def __init__(self, options):
        self.options = options

    def command(self, server, workload, **arguments):
        command = [
            self.options.bench, "--json", "--hosts", f"127.0.0.1:{server.port}",
            "--workload", workload]
        for key, value in arguments.items():
            name = "--" + key.replace("_", "-")
            if value is True:
                command.append(name)
            else:
                command += [name, str(value)]
        return command

    def run(self, server, workload, **arguments):
        command = self.command(server, workload, **arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = "\n".join(done.stderr.splitlines()[-5:])
            raise SystemExit(f"{' '.join(command)} against {server.name} failed:\n{last}")
        return json.loads(done.stdout)

    def start(self, server, workload, **arguments):
        return subprocess.Popen(
            self.command(server, workload, **arguments), stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)

    @contextlib.contextmanager
    def holding(self, server, workload, **arguments):
        """Keeps what the workload set up while the body runs."""
        process = self.start(server, workload, hold=True, **arguments)
        report = process.stdout.readline()
        if not report:
            raise SystemExit(f"{workload} against {server.name} failed")
        try:
            yield json.loads(report)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


# Results


@dataclasses.dataclass
class Row:
    """One line of the table: a figure per server."""

    title: str
    unit: str
    values: dict
    #: More is better; None: neither is.
    more: bool | None = False
    digits: int = 1

    def ratio(self):
        """How many times better Aviary is than Apache."""
        ours, theirs = self.values.get("Aviary"), self.values.get("Apache")
        if not ours or not theirs or self.more is None:
            return ""
        return f"{(ours / theirs if self.more else theirs / ours):.1f}x"


class Table:
    def __init__(self, names):
        self.names = names
        self.rows = []

    def add(self, title, unit, values, more=False, digits=1):
        row = Row(title, unit, values, more, digits)
        self.rows.append(row)
        say(f"  {title}: " + ", ".join(
            f"{name} {self.figure(row, name)} {unit}" for name in self.names if name in values))

    @staticmethod
    def figure(row, name):
        value = row.values.get(name)
        return "" if value is None else f"{value:,.{row.digits}f}"

    def markdown(self):
        head = ["", *self.names, "Aviary is better by"]
        lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
        for row in self.rows:
            title = f"{row.title} ({row.unit})" if row.unit else row.title
            lines.append([title, *(self.figure(row, name) for name in self.names), row.ratio()])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# Measurements


class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.load = Load(options)
        options.loop = os.path.join(directory, "loop")
        self.kinds = [kind for kind in (Aviary, Apache, Loop) if self.wants(kind)]
        self.table = Table([kind.name for kind in self.kinds])

    def wants(self, kind):
        asked = self.options.servers
        if asked and kind.name.split()[-1].lower() not in asked.lower().split(","):
            return False
        return kind.find(self.options)

    @contextlib.contextmanager
    def servers(self, storing=True, **extra):
        """All servers, fresh and running."""
        servers = [
            kind(self.directory, self.options)
            for kind in self.kinds if kind.stores or not storing]
        try:
            for server in servers:
                server.start(**extra)
            yield servers
        finally:
            for server in servers:
                server.stop()

    @contextlib.contextmanager
    def one_by_one(self):
        """For measurements of memory: never two large servers at a time."""
        servers = [kind(self.directory, self.options) for kind in self.kinds if kind.stores]
        try:
            yield servers
        finally:
            for server in servers:
                server.stop()

    def rounds(self, servers, measure):
        """Visits the servers in turn; returns the measured values of each, round by round."""
        values = {server.name: [] for server in servers}
        for number in range(self.options.rounds):
            # The order changes, so that no server always follows the same one.
            for server in servers[number % len(servers):] + servers[:number % len(servers)]:
                values[server.name].append(measure(server))
        return values

    def medians(self, values, pick):
        return {name: median([pick(value) for value in list_]) for name, list_ in values.items()}

    def fill(self, servers, znodes):
        for server in servers:
            if server.stores:
                self.load.run(server, "load", znodes=znodes, keep=True)

    def gets(self):
        """getData of 10,000 znodes: throughput, latency, CPU per request."""
        znodes, seconds = 10_000, self.options.seconds
        with self.servers(storing=False) as servers:
            self.fill(servers, znodes)

            def measure(server, sessions, depth):
                before = server.cpu_seconds()
                report = self.load.run(
                    server, "get", znodes=znodes, reuse=True, sessions=sessions, depth=depth,
                    warmup=0, duration=seconds)
                report["cpu"] = (server.cpu_seconds() - before) * 1e6 / report["requests"]
                return report

            for server in servers:  # For the compiler inside the JVM.
                self.load.run(server, "get", znodes=znodes, reuse=True, warmup=0, duration=seconds)
            for sessions, depth in (50, 16), (50, 1):
                values = self.rounds(servers, lambda s: measure(s, sessions, depth))
                self.report_load(f"get, {sessions} sessions, depth {depth}", values)
                self.table.add(
                    f"CPU per get, {sessions} sessions, depth {depth}", "µs",
                    self.medians(values, lambda v: v["cpu"]), digits=2)

    def report_load(self, title, values):
        self.table.add(
            title, "requests/s", self.medians(values, lambda v: v["requestsPerSecond"]),
            more=True, digits=0)
        for share in "p50", "p99":
            self.table.add(
                f"{title}, latency {share}", "µs",
                self.medians(values, lambda v: v["latencyMicroseconds"][share]), digits=0)

    def sets(self):
        """setData with a flush to the disk, pipelined."""
        self.writes("set")

    def creates(self):
        """create with a flush to the disk, pipelined."""
        self.writes("create")

    def writes(self, workload):
        with self.servers() as servers:
            values = self.rounds(servers, lambda server: self.load.run(
                server, workload, sessions=50, depth=16, warmup=1, duration=self.options.seconds))
            self.report_load(f"{workload}, 50 sessions, depth 16", values)

    def latency(self):
        """One session, one write at a time, beside what the disk itself needs."""
        probes = []
        with self.servers() as servers:

            def measure(server):
                probes.append(disk_probe(self.directory))
                return self.load.run(
                    server, "set", sessions=1, depth=1, znodes=1000, warmup=1,
                    duration=self.options.seconds)

            values = self.rounds(servers, measure)
        disk = median(probes)
        p50 = self.medians(values, lambda v: v["latencyMicroseconds"]["p50"])
        self.table.add(f"set, one session, depth 1, p50 (disk alone: {disk:.0f})", "µs", p50)
        self.table.add(
            "the same over the disk's own fdatasync", "µs",
            {name: value - disk for name, value in p50.items()})

    def start(self):
        """An empty server: time to its first answer, and memory."""
        seconds, resident = {}, {}
        with self.one_by_one() as servers:
            for _ in range(self.options.rounds):
                for server in servers:
                    seconds.setdefault(server.name, []).append(server.start())
                    resident.setdefault(server.name, []).append(server.resident_bytes())
                    server.stop()
        self.table.add(
            "start of an empty server", "ms",
            {name: median(values) * 1e3 for name, values in seconds.items()})
        self.table.add(
            "its resident memory", "MB",
            {name: median(values) / 1e6 for name, values in resident.items()})

    def memory(self):
        """Many znodes: memory, and the start with them on the disk."""
        znodes = self.options.znodes
        resident, starting, restarted = {}, {}, {}
        with self.one_by_one() as servers:
            for server in servers:
                server.start()
                self.load.run(server, "load", znodes=znodes, keep=True)
                resident[server.name] = server.resident_bytes()
                server.stop()
                starting[server.name] = server.start()
                restarted[server.name] = server.resident_bytes()
                self.same_count(server, znodes)
                server.stop()
        self.table.add(
            f"resident memory with {znodes:,} znodes of 100 bytes", "MB",
            {name: value / 1e6 for name, value in resident.items()}, digits=0)
        self.table.add("start with them on the disk", "s", starting, digits=2)
        self.table.add(
            "resident memory after that start", "MB",
            {name: value / 1e6 for name, value in restarted.items()}, digits=0)

    @staticmethod
    def same_count(server, znodes):
        answer = four_letter_word(server.port, b"srvr").decode()
        count = int(re.search(r"Node count: (\d+)", answer).group(1))
        if count < znodes:
            raise SystemExit(f"{server.name} lost znodes: {count} of {znodes} are left")

    def sessions(self):
        """Memory of sessions that do nothing."""
        count = self.options.idle_sessions
        values = {}
        with self.one_by_one() as servers:
            for server in servers:
                server.start()
                before = server.memory_in_use()
                with self.load.holding(
                        server, "idle", sessions=0, idle_sessions=count, session_timeout=40_000):
                    values[server.name] = (server.memory_in_use() - before) / count
                server.stop()
        self.table.add(
            f"memory per idle session ({count:,} of them)", "bytes", values, digits=0)

    def watches(self):
        """Memory of watches: every session watches every path."""
        paths, sessions = self.options.watched_paths, 10
        values = {}
        with self.one_by_one() as servers:
            for server in servers:
                server.start()
                self.load.run(server, "load", znodes=paths, keep=True)
                before = server.memory_in_use()
                with self.load.holding(
                        server, "watch-table", znodes=paths, sessions=sessions, reuse=True):
                    count = paths * sessions
                    values[server.name] = (server.memory_in_use() - before) / count
                server.stop()
        self.table.add(
            f"memory per watch ({paths:,} paths x {sessions} sessions)", "bytes", values,
            digits=0)

    def children(self):
        """What a listing of many children does to the gets of others."""
        count = self.options.children
        with self.servers() as servers:
            values = self.rounds(servers, lambda server: self.load.run(
                server, "children", znodes=count, sessions=21, rate=2000, warmup=1,
                duration=self.options.seconds))
        self.table.add(
            f"getChildren of {count:,} children, p50", "ms",
            self.medians(values, lambda v: v["listingMicroseconds"]["p50"] / 1e3), digits=2)
        for share in "p99.9", "max":
            self.table.add(
                f"2,000 gets/s of others meanwhile, {share}", "ms",
                self.medians(values, lambda v: v["latencyMicroseconds"][share] / 1e3), digits=2)

    def snapshot(self):
        """Gets beside writes, without and with snapshots of many znodes."""
        znodes = self.options.znodes
        results = {}
        with self.one_by_one() as servers:
            for server in servers:
                server.start()
                self.load.run(server, "load", znodes=znodes, keep=True)
                server.stop()
                quiet = self.gets_beside_sets(server, znodes, snap_count=100_000_000)
                busy = self.gets_beside_sets(server, znodes, snap_count=self.options.snap_count)
                results[server.name] = quiet, busy
        for title, place in (("without", 0), ("with", 1)):
            for share in "p99", "p99.9":
                self.table.add(
                    f"2,000 gets/s beside sets, {title} snapshots of {znodes:,} znodes, {share}",
                    "ms", {name: pair[place][share] for name, pair in results.items()}, digits=2)
        self.table.add(
            "snapshots written meanwhile", "",
            {name: pair[1]["snapshots"] for name, pair in results.items()}, more=None, digits=0)
        self.table.add(
            "rise of resident memory meanwhile", "MB",
            {name: pair[1]["rise"] / 1e6 for name, pair in results.items()}, digits=0)

    def gets_beside_sets(self, server, znodes, snap_count):
        server.start(snapCount=snap_count)
        seconds = max(10, 4 * self.options.seconds)
        self.load.run(server, "get", znodes=znodes, reuse=True, warmup=0, duration=2)
        before = set(self.snapshots(server))
        memory = MemoryWatch(server)
        writer = self.load.start(
            server, "set", znodes=znodes, reuse=True, sessions=4, depth=4, warmup=0,
            duration=seconds + 2)
        report = self.load.run(
            server, "get", znodes=znodes, reuse=True, sessions=20, rate=2000, warmup=1,
            duration=seconds)
        writer.communicate()
        result = {
            **{share: us / 1e3 for share, us in report["latencyMicroseconds"].items()},
            "rise": memory.stop(),
            "snapshots": len(set(self.snapshots(server)) - before),
        }
        server.stop()
        return result

    @staticmethod
    def snapshots(server):
        return glob.glob(os.path.join(server.directory, "data", "version-2", "snapshot.*"))


class MemoryWatch:
    """Looks at a server's resident memory until it is stopped."""

    def __init__(self, server):
        self.server = server
        self.first = self.most = server.resident_bytes()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.02):
            self.most = max(self.most, self.server.resident_bytes())

    def stop(self):
        """Returns how much it rose at most."""
        self.ended.set()
        self.thread.join()
        return self.most - self.first


def disk_probe(directory, commits=500, record=200):
    """Median microseconds of a small write and fdatasync into a preallocated file."""
    times = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        descriptor = file.fileno()
        os.posix_fallocate(descriptor, 0, 1 << 26)
        os.fsync(descriptor)
        for number in range(commits):
            began = time.perf_counter_ns()
            os.pwrite(descriptor, b"x" * record, number * record)
            os.fdatasync(descriptor)
            times.append((time.perf_counter_ns() - began) / 1e3)
    return median(times)


MEASUREMENTS = [
    "gets", "sets", "creates", "latency", "start", "memory", "sessions", "watches", "children",
    "snapshot"]


def common_parser(description, servers):
    """What every benchmark of servers can be told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.path.join(ROOT, ".build", "release")
    parser.add_argument("--only", help="measurements, separated by commas")
    parser.add_argument("--list", action="store_true", help="tell what there is to measure")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--rounds", type=int, help="visits to each server or ensemble (3)")
    parser.add_argument("--seconds", type=float, help="length of each run (5)")
    parser.add_argument("--servers", help=f"some of {servers}")
    parser.add_argument("--server", default=os.path.join(build, "zkServer"))
    parser.add_argument("--bench", default=os.path.join(build, "zkBench"))
    parser.add_argument("--apache-classpath", default=apache_classpath())
    parser.add_argument("--apache-heap", default="4g", help="the most, for each server")
    parser.add_argument(
        "--directory", help="where the servers keep their data: a real disk (default: .build)")
    parser.add_argument("--output", help="also write the table to this file")
    return parser


def parse_common(parser, arguments):
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (2 if options.quick else 5)
    return options


def parse(arguments):
    parser = common_parser(__doc__, "aviary, apache, loop")
    parser.add_argument("--znodes", type=int)
    options = parse_common(parser, arguments)
    small = options.quick
    options.znodes = options.znodes or (100_000 if small else 1_000_000)
    options.idle_sessions = 1_000 if small else 10_000
    options.watched_paths = 10_000 if small else 100_000
    options.children = 10_000 if small else 100_000
    options.snap_count = 10_000 if small else 100_000  # ZooKeeper's default.
    return options


def measure(make, measurements, options):
    """Makes a Bench and lets it do what is wanted; returns it, or nothing to only tell what there is."""
    if options.list:
        for name in measurements:
            print(f"{name:10} {getattr(make, name).__doc__}")
        return None
    wanted = options.only.split(",") if options.only else measurements
    for name in wanted:
        if name not in measurements:
            raise SystemExit(f"no measurement {name}; there are {', '.join(measurements)}")
    if not os.path.exists(options.bench):
        raise SystemExit(f"no {options.bench}: build it with `swift build -c release`")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # What is open below ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parent = options.directory or os.path.join(ROOT, ".build")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as directory:
        bench = make(options, directory)
        if not bench.kinds:
            raise SystemExit("there is no server to measure")
        for name in wanted:
            say(f"{name}: {getattr(make, name).__doc__}")
            getattr(bench, name)()
    return bench


def write_table(bench, options):
    table = bench.table.markdown()
    print(table)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(table + "\n")


def main(arguments):
    options = parse(arguments)
    bench = measure(Bench, MEASUREMENTS, options)
    if bench is not None:
        write_table(bench, options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
