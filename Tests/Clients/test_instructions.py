"""What a request costs in instructions: times vary with the machine, this shows what a change costs."""

import os
import re
import subprocess
import sys

import pytest

from harness import default_kind

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SERVER = os.path.abspath(os.environ.get("AVIARY_SERVER", os.path.join(ROOT, ".build", "release", "zkServer")))

pytestmark = pytest.mark.skipif(default_kind() != "aviary", reason="counts the instructions of Aviary")


@pytest.mark.parametrize("workload, most", [("get", 2000), ("set", 8200)])
def test_a_request_costs_no_more_than_before(workload, most):
    """docs/performance.md has the counts; a fifth more is a regression, or a new figure there."""
    bench = os.path.join(os.path.dirname(SERVER), "zkBench")
    printed = subprocess.run(
        [sys.executable, os.path.join(ROOT, "bench", "instructions.py"), "--workload", workload,
         "--seconds", "2", "--server", SERVER, "--bench", bench],
        check=True, capture_output=True, text=True, timeout=300).stdout
    count = int(re.match(r"(\d+) instructions per", printed)[1])
    assert most / 4 < count <= most, printed
