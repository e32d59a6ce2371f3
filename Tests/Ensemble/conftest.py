"""Fixtures of the ensemble tests: servers that end with the test, or the module, that asked for them.

Each test is given up after a time, also when it hangs in somebody else's code.
"""
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Clients"))
from ensemble import Ensemble, chosen_kinds, chosen_pairs  # noqa: E402

TEST_SECONDS = 120


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than about ten seconds")
    config.addinivalue_line("markers", "limit(seconds): give the test up after this time")


def pytest_generate_tests(metafunc):
    """`pair` is (kind of one role, kind of the others): each test says which role is meant."""
    if "pair" in metafunc.fixturenames:
        pairs = chosen_pairs()
        metafunc.parametrize("pair", pairs, ids=["-and-".join(pair) for pair in pairs])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


def failed(request):
    """In a fixture's end: true if the test, or any of the module, failed."""
    if request.scope == "function":
        report = getattr(request.node, "report_call", None)
        return report is not None and report.failed
    return any(getattr(item, "report_call", None) is not None and item.report_call.failed
               for item in request.session.items
               if item.nodeid.startswith(request.node.nodeid + "::"))


@pytest.fixture(autouse=True)
def limit(request):
    """Interrupts a test that takes too long."""
    mark = request.node.get_closest_marker("limit")
    seconds = mark.args[0] if mark else TEST_SECONDS

    def give_up(_number, _frame):
        raise TimeoutError(f"the test took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _making(request):
    ensembles = []

    def make(kinds=3, start=True, leader=None, **arguments):
        """An ensemble of the given kinds, or of so many of the chosen ones; served when it returns."""
        ensemble = Ensemble(chosen_kinds(kinds) if isinstance(kinds, int) else kinds, **arguments)
        ensembles.append(ensemble)
        return ensemble.start(leader) if start else ensemble

    yield make
    complaints = []
    for ensemble in ensembles:
        broken = failed(request)
        if broken:
            print(ensemble.logs())
        try:
            ensemble.close(keep=broken)
        except AssertionError as complaint:
            complaints.append(str(complaint))
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def make_ensemble(request):
    """Makes ensembles that end with the test."""
    yield from _making(request)


@pytest.fixture(scope="module")
def make_shared_ensemble(request):
    """Makes ensembles that end with the module; its tests leave them whole and use distinct paths."""
    yield from _making(request)


@pytest.fixture(scope="module")
def trio(make_shared_ensemble):
    """Three servers; server 3 leads."""
    return make_shared_ensemble(3, leader=3)
