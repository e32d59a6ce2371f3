"""Ensembles of servers on loopback, ours and Apache's in any mix, that tests end, pause and replace.

    with Ensemble(["aviary", "apache", "aviary"]) as ensemble:
        ensemble.start(leader=3)
        ensemble.leader.kill()
        ensemble.wait_formed()         # whoever still runs serves, and one of them leads
        ensemble.check_trees()         # ... and all of them hold the same

Each member is a `harness.Server` with an id. All members get the same keys in zoo.cfg, whatever
their kind, so that a member can be swapped for the other kind on its own directories.

Environment:
    AVIARY_ENSEMBLE_KINDS   the kinds of the members, repeated as often as needed: "aviary" (default),
                            "apache", "aviary,apache"
"""
import difflib
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import tempfile
import time
from typing import NamedTuple

from kazoo.client import KazooClient

import storage_files
import wire
from harness import Server, wait_until

TICK_MILLISECONDS = 200
SYNC_LIMIT_SECONDS = 2.0
FORM_SECONDS = 30
#: How long a test's own session outlives its connection.
SESSION_MILLISECONDS = 20_000

CONFIG = {
    "tickTime": TICK_MILLISECONDS,
    "initLimit": 50,
    "syncLimit": int(SYNC_LIMIT_SECONDS * 1000) // TICK_MILLISECONDS,
    "maxSessionTimeout": 60_000,
    # A notification that is lost when two connections cross is sent again after at most this time;
    # by default the intervals grow to a minute.
    "fastleader.maxNotificationInterval": 1000,
    "preAllocSize": 64,
    "admin.enableServer": "false",
    "extendedTypesEnabled": "true",
}
#: Keys that Apache reads as properties only; ours reads them in zoo.cfg.
PROPERTIES_OF_APACHE = ("readonlymode.enabled", "znode.container.checkIntervalMs")
JAVA_OPTIONS = ("-Xmx128m", "-Xms32m", "-XX:-UsePerfData")


def chosen_kinds(size):
    """The kinds of `size` members, as AVIARY_ENSEMBLE_KINDS says."""
    pattern = os.environ.get("AVIARY_ENSEMBLE_KINDS", "aviary").split(",")
    return [pattern[index % len(pattern)] for index in range(size)]


def chosen_pairs():
    """(kind of one role, kind of the others): what a test of two roles is to be run with.

    With one kind chosen that is the kind with itself; with two, each with the other, since the kind
    with itself is the business of another run.
    """
    kinds = sorted(set(os.environ.get("AVIARY_ENSEMBLE_KINDS", "aviary").split(",")))
    if len(kinds) == 1:
        return [(kinds[0], kinds[0])]
    return [(one, other) for one in kinds for other in kinds if one != other]


_ports_given = set()


def listening_ports(count):
    """Free ports that no outgoing connection takes while the server they are for is down.

    The kernel draws the ports of outgoing connections from a range of its own; these are below it.
    No port is given twice in one run.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first_outgoing = int(file.read().split()[0])
    ports = []
    while len(ports) < count:
        port = random.randrange(10_000, first_outgoing)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port not in _ports_given:
            _ports_given.add(port)
            ports.append(port)
    return ports


# Trees

class Node(NamedTuple):
    data: bytes
    acl: list
    stat: wire.Stat


CONFIG_NODE = "/zookeeper/config"


def read_tree(client):
    """{path: Node} of all that one server has, once it has what the leader had before."""
    client.ask("sync", wire.path_only("/"))
    tree, level = {}, ["/"]
    while level:
        below = []
        for start in range(0, len(level), 200):
            below += _read_nodes(client, level[start:start + 200], tree)
        level = below
    return tree


def _read_nodes(client, paths, tree):
    for path in paths:
        client.send("getData", wire.path_watch(path))
        client.send("getACL", wire.path_only(path))
        client.send("getChildren", wire.path_watch(path))
    below = []
    for path in paths:
        replies = [client.reply() for _ in range(3)]
        if any(reply.error == wire.NONODE for reply in replies):
            continue  # An ephemeral znode of a session that ended meanwhile.
        assert not any(reply.error for reply in replies), (path, replies)
        data, acl, children = (wire.Decoder(reply.body) for reply in replies)
        tree[path] = Node(data.buffer(), acl.acl(), data.stat())
        below += [f"{path.rstrip('/')}/{name}" for name in children.strings()]
    return below


def difference(wanted, found, names=("wanted", "found")):
    """Lines that tell two trees apart, or an empty string."""
    lines = difflib.unified_diff(comparable(wanted), comparable(found), *names, lineterm="", n=0)
    return "\n".join(itertools.islice(lines, 40))


def comparable(tree):
    """Lines that are the same for equal trees: without what is local to a server."""
    lines = []
    for path, node in sorted(tree.items()):
        if path == CONFIG_NODE:
            # Written by each server by itself, at a time of its own, with servers in any order.
            text = b"\n".join(sorted((node.data or b"").split(b"\n")))
            node = Node(text, node.acl, node.stat._replace(mtime=0))
        lines.append(f"{path} {node.data!r} {node.acl} {tuple(node.stat)}")
    return lines


# Members

class Member(Server):
    """One server of an ensemble."""

    def __init__(self, server_id, kind, host, ports, *, observer=False, config=None):
        config = dict(config or {})
        properties = {key: config[key] for key in PROPERTIES_OF_APACHE if key in config}
        client_port, self.quorum_port, self.election_port = ports
        super().__init__(kind=kind, port=client_port, config=config, properties=properties,
                         java_options=JAVA_OPTIONS)
        self.id = server_id
        self.address_of_all = host
        self.observer = observer
        self.paused = False
        self.ended_by_test = False
        self.write_id()

    def __repr__(self):
        return f"server {self.id} ({self.kind})"

    @property
    def host(self):
        return self.address_of_all

    def write_id(self):
        pathlib.Path(self.data_dir, "myid").write_text(f"{self.id}\n", encoding="ascii")

    def write_config(self):
        """A file that the server rewrote after a reconfiguration is the server's from then on."""
        if "dynamicConfigFile" not in self.config_on_disk():
            super().write_config()

    def config_on_disk(self):
        path = pathlib.Path(self.config_file)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    # Life

    def start(self, wait=False):
        """Starts the process; it serves once it finds a quorum, see `Ensemble.wait_formed`."""
        self.ended_by_test = False
        return super().start(wait)

    def kill(self):
        self.ended_by_test = True
        self.paused = False
        super().kill()

    def stop(self, seconds=20):
        self.ended_by_test = True
        return super().stop(seconds)

    def close(self, keep=False):
        died = None
        if self.process is not None and not self.ended_by_test and not self.alive:
            died = f"{self!r} ended by itself with {self.process.returncode}\n{self.log_tail()}"
        self.ended_by_test = True
        super().close(keep=keep or died is not None)
        assert not died, died

    def pause(self):
        """SIGSTOP: its connections stay, and nothing comes through them once this returns."""
        self.process.send_signal(signal.SIGSTOP)
        # On a busy machine some threads run on until the one that took the signal is scheduled.
        wait_until(lambda: self._thread_states() == {"T"}, what=f"the stop of {self!r}", every=0.001)
        self.paused = True

    def _thread_states(self):
        states = set()
        for thread in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            # The state is behind the name, which is in parentheses.
            states.add(pathlib.Path(thread, "stat").read_text(encoding="ascii").rpartition(")")[2][1])
        return states

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def swap(self, kind):
        """Makes it a server of the other kind, on the directories as they are."""
        assert not self.alive, f"{self!r} still runs"
        self.kind = kind

    def wipe(self):
        """Loses all it ever stored, as after a change of the disk."""
        assert not self.alive, f"{self!r} still runs"
        shutil.rmtree(storage_files.version_dir(self.data_dir), ignore_errors=True)

    # Views

    @property
    def runs(self):
        """Started, and neither ended nor paused by the test; an end of its own is a failure."""
        if self.process is None or self.ended_by_test or self.paused:
            return False
        assert self.process.poll() is None, \
            f"{self!r} ended by itself with {self.process.returncode}\n{self.log_tail()}"
        return True

    def role(self):
        """'leader', 'follower', 'observer', 'read-only', or None while it serves nobody."""
        if not self.runs:
            return None
        try:
            answer = self.four_letter("srvr", seconds=2)
        except OSError:
            return None
        modes = [line[6:] for line in answer.splitlines() if line.startswith("Mode: ")]
        return modes[0] if modes else None

    def wait_answer(self, seconds=FORM_SECONDS):
        """Waits until the process answers words, whatever it says; returns what `srvr` says."""
        def answer():
            try:
                return self.four_letter("srvr", seconds=2)
            except OSError:
                return None
        return wait_until(answer, seconds, f"an answer of {self!r}")

    def metric(self, name):
        """A number of `mntr`; 0 if this role has no such key."""
        return int(float(self.mntr().get(f"zk_{name}", "0")))

    def session(self, timeout=SESSION_MILLISECONDS, session=None, **arguments):
        """A connection to this very server: of a new session, or of that of another connection."""
        if session is not None:
            arguments |= {"session_id": session.session_id, "password": session.password}
        return wire.Client(self.address, timeout, **arguments)

    def tree(self):
        with self.session() as client:
            tree = read_tree(client)
            client.close_session()
        return tree

    def tree_on_disk(self, kind=None):
        """What a server of its own kind, or of another, finds in its directories."""
        assert not self.alive, f"{self!r} still runs"
        with tempfile.TemporaryDirectory(prefix="disk-") as copy:
            shutil.copytree(storage_files.version_dir(self.data_dir), storage_files.version_dir(copy))
            with Server(kind or self.kind, copy, java_options=JAVA_OPTIONS) as reader, \
                    wire.Client(reader.address) as client:
                return read_tree(client)

    def logged_zxids(self):
        """Of all whole transactions in its log files, in their order."""
        return [record.zxid for log in storage_files.files(self.data_dir, "log")
                if os.path.getsize(log) for record in storage_files.records(log)]

    def logged_twice(self):
        """True if an Apache server has a transaction more than once; ours never may."""
        zxids = self.logged_zxids()
        return self.kind == "apache" and len(set(zxids)) < len(zxids)


class Ensemble:
    """Members 1, 2, 3... of the given kinds; the last `observers` of them are observers.

    `config` holds further zoo.cfg keys of all members. With `dynamic` the client's port is in the
    server lines, as reconfiguration wants it. With `own_hosts` each member has an address of its own
    (127.0.0.1, 127.0.0.2 ...), for ports that are the same on all members.
    """

    def __init__(self, kinds, *, observers=0, config=None, dynamic=False, own_hosts=False):
        self.dynamic = dynamic
        self.own_hosts = own_hosts
        self.config = {**CONFIG, **(config or {})}
        self.members = []
        self.kazoo_clients = []
        for index, kind in enumerate(kinds):
            self._make_member(kind, observer=index >= len(kinds) - observers)
        for member in self.members:
            self._configure(member)

    def _make_member(self, kind, observer=False):
        server_id = len(self.members) + 1
        host = f"127.0.0.{server_id}" if self.own_hosts else "127.0.0.1"
        self.members.append(Member(server_id, kind, host, listening_ports(3), observer=observer,
                                   config=self.config))
        return self.members[-1]

    def _configure(self, member):
        for other in self.members:
            member.config[f"server.{other.id}"] = self.specification(other)
        member.config["clientPortAddress"] = member.host
        if member.observer:
            member.config["peerType"] = "observer"
        if self.dynamic:
            member.config |= {"clientPort": None, "clientPortAddress": None,
                              "reconfigEnabled": "true", "standaloneEnabled": "false"}

    def specification(self, member, role=None):
        """What stands behind "server.N=" for a member."""
        role = role or ("observer" if member.observer else "participant")
        text = f"{member.host}:{member.quorum_port}:{member.election_port}"
        if self.dynamic:
            return f"{text}:{role};{member.host}:{member.port}"
        return text if role == "participant" else f"{text}:{role}"

    def add(self, kind, observer=False):
        """A further member, which knows the others before they know it; not started."""
        member = self._make_member(kind, observer)
        self._configure(member)
        return member

    # Life

    def start(self, leader=None):
        """Starts all members and waits until they serve; `leader` is the id of who is to lead.

        On empty directories the greatest id wins, so a leader is made by starting it together with
        as few others as a quorum takes, all of them with lesser ids.
        """
        participants = [member for member in self.members if not member.observer]
        if leader is not None:
            others = [member for member in participants if member.id < leader]
            assert len(others) >= len(participants) // 2, f"server {leader} cannot be made to lead"
            first = [self[leader], *others[:len(participants) // 2]]
            self.start_members(first)
            assert self.leader is self[leader], f"{self.leader!r} leads"
        self.start_members(member for member in self.members if not member.alive)
        assert leader is None or self.leader is self[leader], f"{self.leader!r} leads"
        return self

    def start_members(self, members):
        for member in members:
            member.start()
        return self.wait_formed()

    def kill_all(self):
        """As a power cut: nobody has the time to notice the end of another."""
        for member in self.members:
            if member.alive:
                member.process.kill()
        for member in self.members:
            if member.process is not None:
                member.kill()

    def close(self, keep=False):
        for client in self.kazoo_clients:
            client.stop()
            client.close()
        complaints = []
        for member in self.members:
            try:
                member.close(keep=keep)
            except AssertionError as complaint:
                complaints.append(str(complaint))
        assert not complaints, "\n".join(complaints)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(keep=kind is not None)

    # Views

    def __getitem__(self, server_id):
        return self.members[server_id - 1]

    def __iter__(self):
        return iter(self.members)

    def others(self, *members):
        """The running members apart from these."""
        return [member for member in self.members if member.runs and member not in members]

    @property
    def leader(self):
        """Who leads; there must be exactly one."""
        leaders = self.with_role("leader")
        assert len(leaders) == 1, f"leaders: {leaders}"
        return leaders[0]

    @property
    def followers(self):
        return self.with_role("follower")

    def with_role(self, role):
        return [member for member in self.members if member.role() == role]

    def roles(self):
        return {member: member.role() for member in self.members}

    def logs(self, lines=60):
        """The ends of all logs, and before each what a crash said, however far back."""
        parts = []
        for member in self.members:
            crash = re.search(r"^.*(Fatal error|Program crashed).*(\n.*){0,25}", member.log_text(),
                              re.MULTILINE)
            parts.append(f"--- {member!r} in {member.work_dir}\n"
                         + (f"{crash.group()}\n...\n" if crash else "") + member.log_tail(lines))
        return "\n".join(parts)

    # Waiting

    def wait_formed(self, seconds=FORM_SECONDS):
        """Waits until all running members serve, under one leader that has synced them all."""
        try:
            return wait_until(self._formed_leader, seconds, "an ensemble", every=0.05)
        except AssertionError as failure:
            raise AssertionError(f"{failure}; roles: {self.roles()}") from None

    def _formed_leader(self):
        roles = {member: member.role() for member in self.members if member.runs}
        leaders = [member for member, role in roles.items() if role == "leader"]
        if None in roles.values() or "read-only" in roles.values() or len(leaders) != 1:
            return None
        [leader] = leaders
        try:
            numbers = leader.mntr()
            # With observer masters the followers have observers of their own.
            observers = [leader] if "observer" not in roles.values() else \
                [member for member, role in roles.items() if role != "observer"]
            synced_observers = sum(member.metric("synced_observers") for member in observers)
        except OSError:
            return None
        synced_followers = int(numbers["zk_synced_followers"])
        counts = list(roles.values())
        if (synced_followers, synced_observers) != (counts.count("follower"), counts.count("observer")):
            return None
        return leader

    def check_unserved(self, seconds=3):
        """Nobody serves, soon and then for several times what an election takes."""
        wait_until(lambda: not any(self.roles().values()), FORM_SECONDS, "the end of service")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert not any(self.roles().values()), f"served without a quorum: {self.roles()}"
            time.sleep(0.1)

    # Trees

    def check_trees(self):
        """Reads the tree of each running member by itself; all must be equal. Returns it.

        No digest of a transaction may have differed from that of the leader either, unless the
        member has transactions twice: an Apache 3.8 learner that loses its leader while it
        synchronises logs them again with the next attempt, and counts what it then reads.
        """
        running = [member for member in self.members if member.runs]
        trees = {member: member.tree() for member in running}
        first, *rest = running
        for member in rest:
            different = difference(trees[first], trees[member], (repr(first), repr(member)))
            assert not different, f"trees differ:\n{different}"
        for member in running:
            wrong = member.metric("digest_mismatches_count")
            told = [line for line in member.log_text(this_run=True).splitlines()
                    if "igest" in line or "elected" in line or "FOLLOWING" in line]
            assert not wrong or member.logged_twice(), (
                f"{member!r} counted {wrong} wrong digests:\n" + "\n".join(told))
        return trees[first]

    # Clients

    def kazoo(self, *members, timeout=10.0, start=True, **arguments):
        """A kazoo client of these members, in their order (all, unless some are named)."""
        hosts = ",".join(member.hosts for member in members or self.members)
        client = KazooClient(hosts=hosts, timeout=timeout, randomize_hosts=False, **arguments)
        self.kazoo_clients.append(client)
        if start:
            client.start(timeout=FORM_SECONDS)
        return client
