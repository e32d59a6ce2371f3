"""scripts/ensemble, which `make ensemble` runs: three servers on one machine, by conf/ensemble/zoo.cfg."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

import wire
from ensemble import listening_ports
from harness import REPOSITORY, aviary_binary, wait_until

SECONDS = 60


class Run:
    """One run of the script; `lines` is what it has said so far."""

    def __init__(self, directory, config):
        self.log = open(directory.parent / "script.log", "a+", encoding="utf-8")
        self.log_start = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [REPOSITORY / "scripts" / "ensemble", directory], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "CONFIG": str(config), "AVIARY_SERVER": os.path.abspath(aviary_binary())})

    def said(self):
        with open(self.log.name, encoding="utf-8") as log:
            log.seek(self.log_start)
            return log.read()

    def wait_said(self, pattern):
        def found():
            assert self.process.poll() is None or re.search(pattern, self.said()), self.said()
            return re.search(pattern, self.said())
        return wait_until(found, SECONDS, f"/{pattern}/ in {self.said()}")

    def table(self):
        """{server: (mode, pid, client port)} of the last table."""
        rows = re.findall(r"^(\d) +(\w+) +0x\w+ +(\d+) +127\.0\.0\.1:(\d+) ", self.said(), re.MULTILINE)
        return {int(row[0]): (row[1], int(row[2]), int(row[3])) for row in rows}

    def interrupt(self):
        """As ctrl-C does: everybody in the foreground gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(SECONDS)

    def close(self):
        for _, pid, _ in self.table().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def run(tmp_path):
    """Starts the script with ports of the test's own; all runs share a directory."""
    text = (REPOSITORY / "conf" / "ensemble" / "zoo.cfg").read_text(encoding="utf-8")
    ports = iter(listening_ports(9))
    text = re.sub(r"(?<=[=;]127\.0\.0\.1:)\d+|(?<=:)\d+(?=[:;])", lambda _: str(next(ports)), text)
    config = tmp_path / "zoo.cfg"
    config.write_text(text, encoding="utf-8")
    runs = []

    def start():
        runs.append(Run(tmp_path / "ensemble", config))
        return runs[-1]

    yield start
    for each in runs:
        each.close()


def is_alive(pid):
    """False also of a process that has ended and that nobody has waited for."""
    try:
        return bool(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def test_it_serves_until_it_is_interrupted(run):
    script = run()
    script.wait_said("ctrl-C")
    servers = script.table()
    assert sorted(mode for mode, _, _ in servers.values()) == ["follower", "follower", "leader"]
    hosts = ",".join(f"127.0.0.1:{port}" for _, _, port in servers.values())
    assert f"connect to   {hosts}\n" in script.said()
    with wire.Client(("127.0.0.1", servers[1][2])) as client:
        client.create("/kept")
    assert script.interrupt() == 130
    assert not any(is_alive(pid) for _, pid, _ in servers.values())

    script = run()
    script.wait_said("ctrl-C")
    with wire.Client(("127.0.0.1", script.table()[2][2])) as client:
        client.ask("sync", wire.path_only("/"))
        assert client.exists("/kept"), "the data stay"


def test_a_killed_leader_comes_back_as_a_follower(run):
    script = run()
    script.wait_said("ctrl-C")
    before = script.table()
    [leader] = [server for server, (mode, _, _) in before.items() if mode == "leader"]
    os.kill(before[leader][1], signal.SIGKILL)
    script.wait_said(rf"server {leader} has ended: starting it again\n\nserver (.*\n)+3 ")
    after = script.table()
    assert after[leader][0] == "follower" and after[leader][1] != before[leader][1]
    assert sorted(mode for mode, _, _ in after.values()) == ["follower", "follower", "leader"]


def test_another_run_ends_the_first(run):
    first = run()
    first.wait_said("ctrl-C")
    servers = first.table()
    second = run()
    second.wait_said("ctrl-C")
    assert first.process.wait(SECONDS) == 143
    assert not any(is_alive(pid) for _, pid, _ in servers.values())


def test_servers_that_outlived_their_script_are_ended(run):
    first = run()
    first.wait_said("ctrl-C")
    first.process.kill()
    first.process.wait()
    servers = first.table()
    second = run()
    second.wait_said("ctrl-C")
    assert not any(is_alive(pid) for _, pid, _ in servers.values())


def test_a_taken_port_is_named(run, tmp_path):
    config = (tmp_path / "zoo.cfg").read_text(encoding="utf-8")
    port = int(re.search(r"^server\.2=127\.0\.0\.1:\d+:(\d+)", config, re.MULTILINE).group(1))
    with socket.create_server(("127.0.0.1", port)):
        script = run()
        assert script.process.wait(SECONDS) == 1
    assert f"port {port} on 127.0.0.1, the election port of server 2, is taken" in script.said()
    assert not script.table()


def test_a_server_that_cannot_start_is_not_started_for_ever(run, tmp_path):
    with open(tmp_path / "zoo.cfg", "a", encoding="utf-8") as config:
        config.write("tickTime=never\n")
    script = run()
    assert script.process.wait(SECONDS) == 1
    assert re.search(r"tickTime.*\n(.*\n)*ensemble: server \d has ended; its log is ", script.said())
    assert subprocess.run(["pgrep", "--full", str(tmp_path)], check=False).returncode == 1
