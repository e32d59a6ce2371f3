"""Apache's own command line client (ZooKeeperMain) drives our server.

One JVM serves the whole module: commands go to its standard input, and an answer ends where the
answer to `printwatches`, sent behind each command, begins.
"""
import queue
import re
import subprocess
import threading

import pytest

import harness

END_OF_ANSWER = "printwatches is on"
JAVA_CLI = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
            "-cp", harness._apache_classpath(), "org.apache.zookeeper.ZooKeeperMain"]
STAT_NAMES = ["cZxid", "ctime", "mZxid", "mtime", "pZxid", "cversion", "dataVersion", "aclVersion",
              "ephemeralOwner", "dataLength", "numChildren"]


class Cli:
    """An interactive zkCli; `run` gives the lines that one command printed."""

    def __init__(self, server):
        self._process = subprocess.Popen(
            [*JAVA_CLI, "-waitforconnection", "-server", server.hosts], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        #: (state, type, path) of each watch event so far.
        self.events = []
        self.run("version")

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def run(self, command, seconds=20):
        self._process.stdin.write(f"{command}\nprintwatches\n")
        self._process.stdin.flush()
        answer = []
        while (line := self._next(seconds)) != END_OF_ANSWER:
            answer.append(line)
        return answer

    def _next(self, seconds):
        """The next line that isn't part of a watch event; those are collected."""
        while True:
            line = self._lines.get(timeout=seconds)
            assert line is not None, "zkCli ended"
            event = re.match(r"WatchedEvent state:(\w+) type:(\w+) path:(\S+)", line)
            if event:
                self.events.append(event.groups())
            elif line == "WATCHER::" or (line == "" and self._lines.qsize()):
                pass
            else:
                return line

    def wait_event(self, kind, path, seconds=10):
        """Waits for the event and forgets it and all before it."""
        def arrived():
            self.run("printwatches on")
            return ("SyncConnected", kind, path) in self.events
        harness.wait_until(arrived, seconds, f"{kind} of {path}; events: {self.events}")
        del self.events[:self.events.index(("SyncConnected", kind, path)) + 1]

    def close(self):
        self._process.stdin.write("quit\n")
        self._process.stdin.close()
        try:
            status = self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()
        assert status == 0


def run_once(server, *command):
    """A command as arguments of zkCli: (exit status, lines of stdout and stderr)."""
    outcome = subprocess.run(
        [*JAVA_CLI, "-waitforconnection", "-server", server.hosts, *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    lines = outcome.stdout.splitlines()
    return outcome.returncode, [line for line in lines if line and not line.startswith(
        ("Connecting to", "WATCHER::", "WatchedEvent"))]


def paths_of(lines):
    [line] = lines
    return line.strip("[]").split(", ")


def stat_of(lines):
    """The last lines of an answer as a stat; the names and their order are zkCli's."""
    pairs = [line.split(" = ", 1) for line in lines[-len(STAT_NAMES):]]
    assert [pair[0] for pair in pairs] == STAT_NAMES, lines
    return dict(pairs)


@pytest.fixture(scope="module")
def cli():
    with harness.Server(config={"enforceQuota": "true"}) as server:
        cli = Cli(server)
        cli.server = server
        yield cli
        cli.close()


def test_version_is_the_clients(cli):
    [line] = cli.run("version")
    assert line.startswith("ZooKeeper CLI version: 3.8.0")


def test_create_of_every_kind(cli):
    assert cli.run("create /kinds 'top node'") == ["Created /kinds"]
    assert cli.run("create /kinds/plain") == ["Created /kinds/plain"]
    assert cli.run("create -s /kinds/seq- s") == ["Created /kinds/seq-0000000001"]
    assert cli.run("create -e /kinds/eph e") == ["Created /kinds/eph"]
    assert cli.run("create -s -e /kinds/both- b") == ["Created /kinds/both-0000000003"]
    assert cli.run("create -c /kinds/container c") == ["Created /kinds/container"]
    assert cli.run("create -t 100000 /kinds/ttl t") == ["Created /kinds/ttl"]
    assert cli.run("create -s -t 100000 /kinds/ttl- t") == ["Created /kinds/ttl-0000000006"]
    assert cli.run("create /kinds/closed x world:anyone:r") == ["Created /kinds/closed"]
    assert cli.run("ls /kinds") == [
        "[both-0000000003, closed, container, eph, plain, seq-0000000001, ttl, ttl-0000000006]"]

    owners = {name: stat_of(cli.run(f"stat /kinds/{name}"))["ephemeralOwner"] for name in (
        "plain", "seq-0000000001", "eph", "both-0000000003", "container", "ttl")}
    session = owners.pop("eph")
    assert session != "0x0" and owners.pop("both-0000000003") == session
    assert set(owners.values()) == {"0x0"}
    assert cli.run("get /kinds") == ["top node"]
    assert cli.run("get /kinds/plain") == ["null"]
    assert stat_of(cli.run("stat /kinds/plain"))["dataLength"] == "0"


def test_create_errors(cli):
    cli.run("create /errors")
    assert cli.run("create /errors") == ["Node already exists: /errors"]
    assert cli.run("create /nothing/below") == ["Node does not exist: /nothing/below"]
    cli.run("create -e /errors/eph")
    assert cli.run("create /errors/eph/child") == [
        "Ephemerals cannot have children: /errors/eph/child"]
    # The client prints the exception as well, in front of its own text.
    assert cli.run("create /errors/bad x digest:nocolon:r")[-1:] == [
        "Acl is not valid : /errors/bad"]
    cli.run("create /errors/closed x world:anyone:r")
    assert cli.run("create /errors/closed/child") == [
        "Insufficient permission : /errors/closed/child"]
    assert cli.run("ls -R /errors") == ["/errors", "/errors/closed", "/errors/eph"]


def test_ls_with_stat_and_recursive(cli):
    for path in ("/ls", "/ls/b", "/ls/a", "/ls/a/deep", "/ls/a/deep/er"):
        cli.run(f"create {path}")
    answer = cli.run("ls -s /ls")
    assert answer[0] == "[a, b]"
    stat = stat_of(answer)
    assert (stat["cversion"], stat["numChildren"], stat["dataVersion"]) == ("2", "2", "0")
    assert cli.run("ls -R /ls") == ["/ls", "/ls/a", "/ls/b", "/ls/a/deep", "/ls/a/deep/er"]
    assert cli.run("ls /none") == ["Node does not exist: /none"]
    assert "zookeeper" in cli.run("ls /")[0]


def test_get_set_and_stat(cli):
    cli.run("create /data first")
    created = stat_of(cli.run("stat /data"))
    answer = cli.run("get -s /data")
    assert answer[0] == "first" and stat_of(answer) == created
    assert created["cZxid"] == created["mZxid"] == created["pZxid"]
    assert created["ctime"] == created["mtime"] and created["dataLength"] == "5"

    assert cli.run("set -v 0 /data second") == []
    changed = stat_of(cli.run("set -s /data third!"))
    assert changed["dataVersion"] == "2" and changed["dataLength"] == "6"
    assert changed["cZxid"] == created["cZxid"]
    assert int(changed["mZxid"], 16) == int(created["mZxid"], 16) + 2
    assert cli.run("set -v 0 /data late") == ["version No is not valid : /data"]
    assert cli.run("set /none x") == ["Node does not exist: /none"]
    assert cli.run("get /data") == ["third!"]
    assert cli.run("stat /none") == ["Node does not exist: /none"]
    assert stat_of(cli.run("stat /data")) == changed


def test_acls_and_authentication(cli):
    cli.run("create /acl x")
    assert cli.run("getAcl /acl") == ["'world,'anyone", ": cdrwa"]
    answer = cli.run("getAcl -s /acl")
    assert answer[:2] == ["'world,'anyone", ": cdrwa"] and stat_of(answer)["aclVersion"] == "0"
    assert stat_of(cli.run("setAcl -s /acl world:anyone:cdra"))["aclVersion"] == "1"
    assert cli.run("setAcl -v 0 /acl world:anyone:r") == ["version No is not valid : /acl"]
    assert cli.run("set /acl y") == ["Insufficient permission : /acl"]

    assert cli.run("create /acl/auth x auth::cdrwa")[-1:] == ["Acl is not valid : /acl/auth"]
    assert cli.run("whoami") == ["Auth scheme: User", "ip: 127.0.0.1"]
    assert cli.run("addauth digest bob:pw") == []
    who = cli.run("whoami")
    assert who[0] == "Auth scheme: User" and sorted(who[1:]) == ["digest: bob", "ip: 127.0.0.1"]
    assert cli.run("create /acl/auth x auth::cdrwa") == ["Created /acl/auth"]
    assert cli.run("getAcl /acl/auth") == ["'digest,'bob:ikIaKsbtGweaHnb/jKn7OHqbunM=", ": cdrwa"]
    cli.run("create /acl/auth/child x")
    assert cli.run("setAcl -R /acl/auth "
                   "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=:crwa,ip:127.0.0.0/8:r") == []
    assert cli.run("getAcl /acl/auth/child") == [
        "'digest,'bob:ikIaKsbtGweaHnb/jKn7OHqbunM=", ": crwa", "'ip,'127.0.0.0/8", ": r"]

    stranger = Cli(cli.server)
    try:
        assert stranger.run("get /acl/auth") == ["x"]
        assert stranger.run("set /acl/auth y") == ["Insufficient permission : /acl/auth"]
        # Without ADMIN the hash is not shown.
        assert stranger.run("getAcl /acl/auth")[:2] == ["'digest,'bob:x", ": crwa"]
        assert stranger.run("setAcl /acl/auth world:anyone:cdrwa") == [
            "Insufficient permission : /acl/auth"]
    finally:
        stranger.close()


def test_quotas(cli):
    cli.run("create /quota 12345")
    cli.run("create /quota/one 1234567890")
    assert cli.run("listquota /quota")[-1] == "quota for /quota does not exist."
    for option, limit in (("-n", 3), ("-b", 100), ("-N", 4), ("-B", 40)):
        assert cli.run(f"setquota {option} {limit} /quota") == []
    listed = ["absolute path is /zookeeper/quota/quota/zookeeper_limits",
              "Output quota for /quota count=3,bytes=100=;byteHardLimit=40;countHardLimit=4",
              "Output stat for /quota count=2,bytes=15"]
    assert cli.run("listquota /quota") == listed

    cli.run("create /quota/two 12345")
    cli.run("set /quota/one 1234567890123")
    assert cli.run("listquota /quota")[-1] == "Output stat for /quota count=3,bytes=23"
    assert cli.run("set /quota/two 12345678901234567890123") == ["Quota has exceeded : /quota/two"]
    assert cli.run("create /quota/three") == ["Created /quota/three"]
    assert cli.run("create /quota/four") == ["Quota has exceeded : /quota/four"]
    cli.run("delete /quota/one")
    assert cli.run("listquota /quota")[-1] == "Output stat for /quota count=3,bytes=10"
    assert cli.run("create /quota/four") == ["Created /quota/four"]

    assert "has a parent" in cli.run("setquota -n 1 /quota/two")[0]
    assert cli.run("delquota -n /quota") == []
    assert cli.run("listquota /quota")[1] == \
        "Output quota for /quota count=-1,bytes=100=;byteHardLimit=40;countHardLimit=4"
    assert cli.run("delquota -B /quota") == []
    assert cli.run("delquota -N /quota") == []
    assert cli.run("listquota /quota")[1] == \
        "Output quota for /quota count=-1,bytes=100=;byteHardLimit=-1;countHardLimit=-1"
    assert cli.run("delquota /quota") == []
    assert cli.run("listquota /quota")[-1] == "quota for /quota does not exist."
    assert cli.run("create /quota/five") == ["Created /quota/five"]


def test_delete_and_deleteall(cli):
    cli.run("create /del")
    for number in range(12):
        cli.run(f"create /del/{number}")
        cli.run(f"create /del/{number}/below")
    assert cli.run("delete /del") == ["Node not empty: /del"]
    assert cli.run("delete -v 3 /del/0/below") == ["version No is not valid : /del/0/below"]
    assert cli.run("delete -v 0 /del/0/below") == []
    assert cli.run("delete /del/0/below") == ["Node does not exist: /del/0/below"]
    assert cli.run("getAllChildrenNumber /del") == ["23"]
    assert cli.run("deleteall /del -b 5") == []
    assert cli.run("ls /del") == ["Node does not exist: /del"]


def test_one_shot_watches(cli):
    cli.run("create /shot a")
    assert cli.run("get -w /shot") == ["a"]
    assert cli.run("ls -w /shot") == ["[]"]
    cli.run("create /shot/child")
    cli.wait_event("NodeChildrenChanged", "/shot")
    cli.run("set /shot b")
    cli.wait_event("NodeDataChanged", "/shot")
    cli.run("set /shot c")
    cli.run("stat -w /shot/child")
    cli.run("delete /shot/child")
    cli.wait_event("NodeDeleted", "/shot/child")
    assert cli.events == []


def test_persistent_watches_and_their_removal(cli):
    assert cli.run("addWatch -m PERSISTENT /persistent") == []
    assert cli.run("addWatch -m PERSISTENT_RECURSIVE /recursive") == []
    cli.run("create /persistent")
    cli.wait_event("NodeCreated", "/persistent")
    for value in ("1", "2"):
        cli.run(f"set /persistent {value}")
        cli.wait_event("NodeDataChanged", "/persistent")
    cli.run("create /persistent/child")
    cli.wait_event("NodeChildrenChanged", "/persistent")
    cli.run("set /persistent/child x")
    cli.run("create /recursive")
    cli.wait_event("NodeCreated", "/recursive")
    cli.run("create /recursive/child")
    cli.wait_event("NodeCreated", "/recursive/child")
    cli.run("set /recursive/child x")
    cli.wait_event("NodeDataChanged", "/recursive/child")
    assert cli.events == []

    assert cli.run("removewatches /persistent") == []
    cli.wait_event("PersistentWatchRemoved", "/persistent")
    assert cli.run("removewatches /recursive") == []
    cli.wait_event("PersistentWatchRemoved", "/recursive")
    cli.run("set /persistent 3")
    cli.run("set /recursive/child y")
    assert cli.run("removewatches /nowhere -d") == [
        "KeeperErrorCode = No such watcher for /nowhere"]
    assert cli.events == []

    cli.run("get -w /recursive")
    cli.run("ls -w /recursive")
    assert cli.run("removewatches /recursive -d") == []
    cli.wait_event("DataWatchRemoved", "/recursive")
    assert cli.run("removewatches /recursive -c") == []
    cli.wait_event("ChildWatchRemoved", "/recursive")
    cli.run("set /recursive z")
    cli.run("create /recursive/other")
    assert cli.events == []


def test_counts_and_ephemerals(cli):
    cli.run("create /count")
    for name in ("b", "a"):
        cli.run(f"create -e /count/{name}")
    cli.run("create /count/c")
    cli.run("create /count/c/d")
    assert cli.run("getAllChildrenNumber /count") == ["4"]
    assert set(paths_of(cli.run("getEphemerals /count"))) == {"/count/a", "/count/b"}
    assert {"/count/a", "/count/b"} <= set(paths_of(cli.run("getEphemerals")))

    other = Cli(cli.server)
    assert other.run("getEphemerals") == ["[]"]
    other.run("create -e /count/others")
    assert other.run("getEphemerals") == ["[/count/others]"]
    other.close()
    # `quit` closed the session, and with it went the ephemeral.
    assert cli.run("ls /count") == ["[a, b, c]"]


def test_config_and_sync(cli):
    assert cli.run("config") in ([], [""]), "a standalone server has no members"
    assert cli.run("sync /") == ["Sync is OK"]


def test_exit_status_of_single_commands(cli):
    cli.run("create /once value")
    assert run_once(cli.server, "get", "/once") == (0, ["value"])
    assert run_once(cli.server, "get", "/none") == (1, ["Node does not exist: /none"])
    assert run_once(cli.server, "create", "-s", "/once/n-", "x") == (
        0, ["Created /once/n-0000000000"])
    assert cli.run("ls /once") == ["[n-0000000000]"]
    status, lines = run_once(cli.server, "nonsense")
    assert status == 127 and "Command not found" in lines[-1]
