"""What a slow, broken or full disk does: nothing is acknowledged before it is on the disk."""

import os
import subprocess
import time

import pytest

from harness import default_kind
from wire import Client, Closed

pytestmark = pytest.mark.skipif(default_kind() != "aviary", reason="the shim knows Aviary's system calls")

DELAY = 0.4


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = tmp_path_factory.mktemp("shim") / "disk_shim.so"
    source = os.path.join(os.path.dirname(__file__), "disk_shim.c")
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", built, source, "-ldl"],
                   check=True)
    return str(built)


class Disk:
    """The order that the server's disk follows."""

    def __init__(self, path):
        self.path = path

    def obeys(self, order):
        # Renamed into place: the server never reads half an order.
        new = self.path.with_suffix(".new")
        new.write_text(order)
        new.rename(self.path)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "order")


def environment(library, disk):
    return {"LD_PRELOAD": library, "DISK_SHIM": str(disk.path)}


def test_a_write_is_acknowledged_after_its_flush(make_server, library, disk):
    server = make_server(environment=environment(library, disk))
    with Client(server.address) as writer, Client(server.address) as reader:
        writer.create("/slow", b"before")
        disk.obeys(f"delay {int(DELAY * 1000)}")
        start = time.monotonic()
        writer.send("setData", b"\0\0\0\5/slow" + b"\0\0\0\5after" + b"\xff\xff\xff\xff")
        # The disk is busy, the server is not, and nobody sees what is not yet durable.
        assert reader.get("/slow")[0] == b"before"
        assert time.monotonic() - start < DELAY
        writer.reply(10)
        assert time.monotonic() - start >= DELAY
        assert reader.get("/slow")[0] == b"after"
        disk.obeys("none")


def test_without_force_sync_nothing_waits_for_the_disk(make_server, library, disk):
    server = make_server(environment=environment(library, disk), config={"forceSync": "no"})
    with Client(server.address) as client:
        client.create("/quick")
        disk.obeys("delay 3000")
        start = time.monotonic()
        client.set("/quick", b"now")
        assert time.monotonic() - start < 2
        disk.obeys("none")


@pytest.mark.parametrize("order, reason", [("sync", "sync"), ("full", "space")])
def test_a_broken_disk_stops_the_server_without_an_acknowledgement(make_server, library, disk, order, reason):
    server = make_server(environment=environment(library, disk))
    with Client(server.address) as client:
        client.create("/kept", b"1")
        disk.obeys(order)
        client.send("setData", b"\0\0\0\5/kept" + b"\0\0\0\1" + b"2" + b"\xff\xff\xff\xff")
        client.wait_closed(10)
    assert server.wait_exit(10) == 10
    assert any("CRITICAL" in line and reason in line for line in server.log_text().splitlines()), server.log_text()
    disk.obeys("none")
    server.start()
    with Client(server.address) as client:
        # What was not acknowledged may be there or not; what was is.
        assert client.get("/kept")[0] in (b"1", b"2")
        client.set("/kept", b"3")


def test_a_file_size_limit_is_an_error_like_any_other(make_server):
    server = make_server(config={"preAllocSize": 64})
    with Client(server.address) as client:
        client.create("/kept", b"1")
        subprocess.run(["prlimit", f"--pid={server.pid}", "--fsize=100000"], check=True)
        sent = 0
        try:
            while sent < 2000:
                client.set("/kept", b"%d" % sent * 100)
                sent += 1
        except Closed:
            pass
        assert 0 < sent < 2000
    assert server.wait_exit(10) == 10
    server.start()
    with Client(server.address) as client:
        assert client.get("/kept")[0] in (b"%d" % (sent - 1) * 100, b"%d" % sent * 100)
