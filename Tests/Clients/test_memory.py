"""What an idle server holds in memory."""

import re

import pytest

from harness import default_kind, wait_until

pytestmark = pytest.mark.skipif(default_kind() != "aviary", reason="measures Aviary")


def resident_megabytes(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


def test_a_server_gives_back_the_code_of_its_start(make_server):
    """Reading its configuration and its data takes about 12 MB, most of it code."""
    server = make_server(config={"tickTime": 200})
    wait_until(lambda: resident_megabytes(server) < 8, what="a small idle server")
    assert "imok" in server.four_letter("ruok")
