"""Apache's C client, libzookeeper_mt, against our server: c_client.c has the scenarios."""
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).with_name("c_client.c")
SCENARIOS = ["basics", "ephemerals", "multi", "watches", "children", "acls", "pipeline",
             "remove_watches"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    binary = tmp_path_factory.mktemp("c_client") / "c_client"
    subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o", binary,
                    SOURCE, "-lzookeeper_mt", "-lpthread"], check=True)
    return binary


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(program, shared_server, scenario):
    outcome = subprocess.run([program, shared_server.hosts, scenario], timeout=60,
                             stderr=subprocess.PIPE, text=True)
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_session_outlives_the_servers_restart(program, server, crash):
    client = subprocess.Popen([program, server.hosts, "restart"], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    restarts = 0
    try:
        for line in client.stdout:
            assert line == "restart the server\n"
            server.restart(crash=crash)
            restarts += 1
            client.stdin.write("done\n")
            client.stdin.flush()
        _, errors = client.communicate(timeout=30)
    finally:
        client.kill()
        client.wait()
    assert client.returncode == 0, errors
    assert restarts == 3
