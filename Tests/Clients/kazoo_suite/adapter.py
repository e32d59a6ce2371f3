"""A pytest plugin that lets kazoo's own tests run, unmodified, against the server under test.

kazoo's harness starts Apache ZooKeeper from jars and makes TLS key stores for it. Here
`ZookeeperCluster` hands out one process of `harness.Server` in place of each. The tests that cannot
apply are named in exclusions.txt, each with its reason; they are deselected, and a line that names
no test is an error, so that the table cannot outlive what it excuses.
"""
import importlib.util
import os
import pathlib
import re
import shutil
import sys
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness  # noqa: E402

# kazoo.testing imports these two at the top, for nothing but the key stores of its TLS tests.
for module in ("OpenSSL", "jks"):
    if importlib.util.find_spec(module) is None:
        sys.modules[module] = types.ModuleType(module)

EXCLUSIONS = pathlib.Path(__file__).with_name("exclusions.txt")


def exclusions():
    """{node id, or the start of one up to "::": reason}."""
    table = {}
    for line in EXCLUSIONS.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, reason = line.partition("  ")
        assert reason.strip(), f"exclusions.txt: no reason given for {name}"
        table[name] = reason.strip()
    return table


class ServerOfTheCluster:
    """What kazoo's tests use of `ManagedZooKeeper`: run, stop, reset, destroy, addresses, logs."""

    def __init__(self, entries, java_properties):
        config = dict(entry.split("=", 1) for entry in entries)
        properties = dict(word.removeprefix("-D").split("=", 1) for word in java_properties)
        properties["readonlymode.enabled"] = "true"
        if harness.default_kind() == "aviary":
            config |= {key.removeprefix("zookeeper."): value for key, value in properties.items()}
            properties = {}
        # kazoo encodes digest credentials as UTF-8, Apache decodes them as the platform does.
        self._server = harness.Server(config=config, properties=properties,
                                      java_options=["-Dfile.encoding=UTF-8"])

    @property
    def running(self):
        return self._server.alive

    def run(self):
        if not self.running:
            self._server.start()

    def stop(self):
        if self.running:
            self._server.stop()

    def reset(self):
        self.stop()
        shutil.rmtree(self._server.data_dir, ignore_errors=True)
        os.makedirs(self._server.data_dir)

    destroy = reset

    @property
    def address(self):
        return self._server.hosts

    @property
    def client_port(self):
        return self._server.port

    def get_logs(self, num_lines=100):
        return self._server.log_text().splitlines(keepends=True)[-num_lines:]


class Cluster:
    """What kazoo's tests use of `ZookeeperCluster`; `start` returns when every server serves."""

    def __init__(self, size, configuration_entries, java_system_properties, **_):
        self._servers = [ServerOfTheCluster(configuration_entries, java_system_properties)
                         for _ in range(size)]

    def __getitem__(self, index):
        return self._servers[index]

    def __iter__(self):
        return iter(self._servers)

    def start(self):
        for server in self:
            server.run()

    def stop(self):
        for server in self:
            server.stop()
        self._servers = []

    def terminate(self):
        self.reset()

    def reset(self):
        for server in self:
            server.reset()

    def get_logs(self):
        return [line for server in self for line in server.get_logs()]


def server_version():
    """The version that the server under test reports."""
    with harness.Server() as server:
        answer = server.four_letter("srvr")
    return re.search(r"Zookeeper version: (\d+\.\d+\.\d+)", answer).group(1)


def pytest_configure(config):
    # CI makes kazoo compare the server's version with ZOOKEEPER_VERSION, a test it skips otherwise.
    os.environ.update(CI="true", ZOOKEEPER_VERSION=server_version(), ZOOKEEPER_CLUSTER_SIZE="1")
    import kazoo.testing.harness
    kazoo.testing.harness.ZookeeperCluster = Cluster


def name_of(item):
    """The node id from the test file on: test_client.py::TestClient::test_create."""
    return item.nodeid.rsplit("/", 1)[-1]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if config.getoption("include_excluded"):
        return
    table = exclusions()
    unused = set(table)
    kept, dropped = [], []
    for item in items:
        name = name_of(item)
        matching = {entry for entry in table if name == entry or name.startswith(entry + "::")}
        unused -= matching
        (dropped if matching else kept).append(item)
    if unused and config.getoption("whole_suite"):
        raise pytest.UsageError(f"exclusions.txt: kazoo has no such tests: {sorted(unused)}")
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_addoption(parser):
    parser.addoption("--include-excluded", action="store_true",
                     help="run what exclusions.txt names as well")
    parser.addoption("--whole-suite", action="store_true",
                     help="fail if exclusions.txt names a test that was not collected")
