"""kazoo's own tests, as they come with the package, against our server.

Run one of them by hand, in Tests/Clients/kazoo_suite:

    PYTHONPATH=. python -m pytest -p adapter --pyargs kazoo.tests.test_lock -k semaphore
"""
import importlib.metadata
import os
import pathlib
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SUITE = pathlib.Path(__file__).with_name("kazoo_suite")
# What kazoo 2.11.0 has, less exclusions.txt; a collection that loses tests must not pass.
TESTS_EXPECTED = 307
SECONDS_MAX = 600


def test_kazoo_suite_passes(tmp_path):
    assert importlib.metadata.version("kazoo") == "2.11.0", "exclusions.txt speaks of kazoo 2.11.0"
    report = tmp_path / "report.xml"
    environment = os.environ | {"PYTHONPATH": str(SUITE), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "adapter", "-p", "no:cacheprovider",
               "--whole-suite", f"--junit-xml={report}", "--tb=short", "-q", "-rs",
               "--disable-warnings", "--pyargs", "kazoo.tests"]
    # A session of its own, so that the servers end with a run that hangs.
    with subprocess.Popen(command, cwd=SUITE, env=environment, text=True, start_new_session=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        try:
            output, _ = run.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise AssertionError(f"not done in {SECONDS_MAX} s\n{run.communicate()[0][-20000:]}") \
                from None
    assert run.returncode == 0, output[-20000:]
    suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": TESTS_EXPECTED, "failures": 0, "errors": 0, "skipped": 0}, \
        f"{counts}\n{output[-20000:]}"
