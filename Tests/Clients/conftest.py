"""Fixtures of the process-level tests: servers that end with the test that asked for them."""
import pytest

from harness import Server, default_kind


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


def _failed(request):
    report = getattr(request.node, "report_call", None)
    return report is not None and report.failed


@pytest.fixture
def make_server(request):
    """Starts a server; `start=False` returns it unstarted. All end after the test."""
    servers = []

    def make(start=True, **arguments):
        server = Server(**arguments)
        servers.append(server)
        return server.start() if start else server

    yield make
    deaths = []
    for server in servers:
        if _failed(request):
            print(f"--- log of the server in {server.work_dir}\n{server.log_tail()}")
        try:
            server.close(keep=_failed(request))
        except AssertionError as death:
            deaths.append(str(death))
    assert not deaths, "\n".join(deaths)


@pytest.fixture
def server(make_server):
    """A fresh server with the default configuration."""
    return make_server()


@pytest.fixture(scope="module")
def shared_server():
    """One server for all tests of a module; tests use distinct paths."""
    with Server() as running:
        yield running


@pytest.fixture
def apache():
    """True when the tests run against Apache ZooKeeper instead of Aviary."""
    return default_kind() == "apache"
