"""examples/registry in use: processes come, go and crash, and so does the server."""
import json
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import pytest
from kazoo.client import KazooClient

from harness import REPOSITORY, wait_until

EXAMPLES = REPOSITORY / "examples" / "registry"
SERVICE = "com.example.Greeter"
TICK_SECONDS = 0.5
SESSION_SECONDS = 2


class Program:
    """One of the example programs; collects the lines that it prints."""

    def __init__(self, name, server, *arguments):
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(EXAMPLES / name), server.hosts, SERVICE, *arguments,
             f"--session-seconds={SESSION_SECONDS}"],
            stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line)

    @property
    def alive(self):
        return self._process.poll() is None

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def terminate(self):
        self._process.terminate()
        return self._process.wait(10)

    def close(self):
        if self.alive:
            self.kill()
        self._reader.join()
        self._process.stdout.close()


class Consumer(Program):
    def __init__(self, server):
        super().__init__("consumer.py", server)

    def lists(self, category="providers"):
        """All lists of a category that were printed, oldest first."""
        changes = [json.loads(line) for line in self.lines]
        return [change["urls"] for change in changes if change["category"] == category]

    def addresses(self):
        """Who the consumer would call now; None before the first list."""
        lists = self.lists()
        return {url.split("/")[2] for url in lists[-1]} if lists else None

    def wait_addresses(self, *expected, seconds=10):
        wait_until(lambda: self.addresses() == set(expected), seconds,
                   f"consumer sees {expected}, its output: {self.lines}")


@pytest.fixture
def registry(make_server):
    """A server, a consumer, and a function that starts providers."""
    server = make_server(config={"tickTime": int(TICK_SECONDS * 1000)})
    programs = []

    def provider(address):
        program = Program("provider.py", server, address)
        programs.append(program)
        wait_until(lambda: program.lines, 10, f"provider {address} registers")
        return program

    consumer = Consumer(server)
    programs.append(consumer)
    yield server, consumer, provider
    for program in programs:
        program.close()


def test_killed_provider_leaves_when_its_session_expires(registry):
    server, consumer, provider = registry
    consumer.wait_addresses()
    first = provider("10.0.0.5:20880")
    second = provider("10.0.0.6:20880")
    consumer.wait_addresses("10.0.0.5:20880", "10.0.0.6:20880")

    killed_at = time.monotonic()
    first.kill()
    consumer.wait_addresses("10.0.0.6:20880", seconds=SESSION_SECONDS + 2 * TICK_SECONDS + 1)
    # kazoo pings after a third of the timeout at the latest, so that much could have passed before.
    gone_after = time.monotonic() - killed_at
    assert gone_after > SESSION_SECONDS * 0.6, "a closed connection must not end the session"

    assert second.terminate() == 0
    terminated_at = time.monotonic()
    consumer.wait_addresses()
    assert time.monotonic() - terminated_at < SESSION_SECONDS / 2, "an orderly end is immediate"


def test_provider_that_lost_its_session_announces_itself_again(registry):
    server, consumer, provider = registry
    program = provider("10.0.0.5:20880")
    consumer.wait_addresses("10.0.0.5:20880")
    program.signal(signal.SIGSTOP)
    consumer.wait_addresses()
    program.signal(signal.SIGCONT)
    consumer.wait_addresses("10.0.0.5:20880")
    assert len(program.lines) == 2


def test_layout_is_that_of_dubbo(registry):
    server, consumer, provider = registry
    program = provider("10.0.0.5:20880")
    consumer.wait_addresses("10.0.0.5:20880")
    client = KazooClient(server.hosts)
    client.start()
    try:
        root = f"/dubbo/{SERVICE}"
        assert set(client.get_children(root)) == {
            "providers", "consumers", "configurators", "routers"}
        [name] = client.get_children(f"{root}/providers")
        assert name.startswith(f"dubbo%3A%2F%2F10.0.0.5%3A20880%2F{SERVICE}%3Finterface%3D")
        assert program.lines == [f"registered {root}/providers/{name}\n"]
        assert client.get(f"{root}/providers/{name}")[1].ephemeralOwner != 0
        [name] = client.get_children(f"{root}/consumers")
        assert name.startswith("consumer%3A%2F%2F127.0.0.1%2F")
        assert client.get(root)[1].ephemeralOwner == 0

        override = f"override://0.0.0.0/{SERVICE}?category=configurators&timeout=300"
        client.create(f"{root}/configurators/{quote(override, safe='')}")
        wait_until(lambda: consumer.lists("configurators")[-1:] == [[override]], 10,
                   "the consumer hears of the override")
    finally:
        client.stop()
        client.close()


def test_registry_stands_while_the_server_crashes(registry):
    server, consumer, provider = registry
    first = provider("10.0.0.5:20880")
    second = provider("10.0.0.6:20880")
    consumer.wait_addresses("10.0.0.5:20880", "10.0.0.6:20880")
    before = announcements(server)
    lists_before = len(consumer.lists())
    for _ in range(3):
        server.restart(crash=True)
        assert announcements(server) == before
    # Longer than a session lives without a sign of life: the old sessions must be in use again.
    watched_until = time.monotonic() + SESSION_SECONDS + 2 * TICK_SECONDS
    while time.monotonic() < watched_until:
        assert announcements(server) == before
        time.sleep(0.2)  # the state must hold all this time; this is how often it is looked at
    assert first.alive and second.alive and consumer.alive
    both = {"10.0.0.5:20880", "10.0.0.6:20880"}
    for urls in consumer.lists()[lists_before:]:
        assert {url.split("/")[2] for url in urls} == both, "a provider that is alive was missing"

    provider("10.0.0.7:20880")
    consumer.wait_addresses(*both, "10.0.0.7:20880")
    first.kill()
    consumer.wait_addresses("10.0.0.6:20880", "10.0.0.7:20880")


def announcements(server):
    """{name: (czxid, owner)} of the providers, through a client of its own."""
    client = KazooClient(server.hosts)
    client.start()
    try:
        path = f"/dubbo/{SERVICE}/providers"
        stats = {name: client.get(f"{path}/{name}")[1] for name in client.get_children(path)}
        return {name: (stat.czxid, stat.ephemeralOwner) for name, stat in stats.items()}
    finally:
        client.stop()
        client.close()
