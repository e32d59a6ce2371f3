"""What a configuration file means, what is refused and with which words, and the limits it sets."""
import os
import re
import socket

import pytest

import wire
from harness import default_kind, free_port, wait_until
from wire import Client, Closed, Connection

aviary_only = pytest.mark.skipif(default_kind() == "apache",
                                 reason="Apache has other words for this, or none")
BASE = "dataDir={data_dir}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
INVALID_CONFIGURATION = 2
DATADIR_UNUSABLE = 3


def refuse(make_server, text, **arguments):
    """Starts a server that must end by itself with a positive status; returns (status, log)."""
    server = make_server(start=False, config_text=text, **arguments)
    server.start(wait=False)
    status = server.wait_exit(15)
    assert status > 0, f"exit status {status}\n{server.log_tail()}"
    return status, server.log_text()


def warnings_of(server, key):
    return [line for line in server.log_text().splitlines()
            if re.match(r"\S+ WARN\S* ", line) and re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", line)]


def conf(server):
    return dict(line.split("=", 1) for line in server.four_letter("conf").splitlines())


# Refusals

@pytest.mark.parametrize("line, expectation", [
    ("tickTime=abc", "abc"),
    ("tickTime=", "tickTime"),
    ("clientPort=70000", "70000"),
    ("clientPort=abc", "abc"),
    ("maxSessionTimeout=12x", "12x"),
    ("snapCount=many", "many"),
    ("maxClientCnxns=1.5", r"1\.5"),
    ("autopurge.snapRetainCount=three", "three"),
    ("autopurge.purgeInterval=soon", "soon"),
    ("reconfigEnabled=maybe", "maybe"),
])
def test_a_bad_value_is_refused(make_server, apache, line, expectation):
    if apache and line.split("=")[0] == "snapCount":
        pytest.skip("Apache reads snapCount as a property that falls back to its default")
    status, log = refuse(make_server, f"# a comment\n{BASE}{line}\n")
    assert status == INVALID_CONFIGURATION, log
    if not apache:
        key = re.escape(line.split("=")[0])
        told = [text for text in log.splitlines() if re.search(rf"zoo\.cfg:5: {key}: ", text)]
        assert len(told) == 1, f"expected one line that begins 'zoo.cfg:5: {key}: ':\n{log}"
        assert re.search(expectation, told[0]), told


@aviary_only
@pytest.mark.parametrize("line", [
    "tickTime=0", "tickTime=-5", "clientPort=-1", "clientPort=65536", "tickTime=99999999999999999999",
    "preAllocSize=-3", "jute.maxbuffer=-1", "clientPortAddress=no address", "forceSync=perhaps",
    "extendedTypesEnabled=2"])
def test_a_value_out_of_bounds_is_refused_with_its_line(make_server, line):
    status, log = refuse(make_server, f"{BASE}\n\n{line}\n")
    assert status == INVALID_CONFIGURATION, log
    assert re.search(rf"zoo\.cfg:6: {re.escape(line.split('=')[0])}: ", log), log


def test_a_minimum_above_the_maximum_is_refused(make_server, apache):
    status, log = refuse(make_server, BASE + "minSessionTimeout=20000\nmaxSessionTimeout=10000\n")
    assert status == INVALID_CONFIGURATION
    assert "inSessionTimeout" in log and "axSessionTimeout" in log
    if not apache:
        assert re.search(r"zoo\.cfg:[45]: ", log), log
        assert "20000" in log and "10000" in log, log


def test_a_minimum_above_the_default_maximum_is_refused(make_server):
    """20 ticks of 100 ms are less than 5 s."""
    status, _ = refuse(make_server, BASE + "tickTime=100\nminSessionTimeout=5000\n")
    assert status == INVALID_CONFIGURATION


def test_the_data_directory_must_be_named(make_server, apache):
    status, log = refuse(make_server, "clientPort={port}\n")
    assert status == INVALID_CONFIGURATION
    assert "dataDir" in log and (apache or "zoo.cfg" in log), log


@aviary_only
def test_a_malformed_escape_is_refused_with_its_line(make_server):
    status, log = refuse(make_server, BASE + "tickTime=\\u12\n")
    assert status == INVALID_CONFIGURATION
    assert re.search(r"zoo\.cfg:4\b", log), log


def test_a_missing_file_is_refused(make_server):
    server = make_server(start=False)
    server.write_config = lambda: None
    server.start(wait=False)
    assert server.wait_exit(15) == INVALID_CONFIGURATION
    assert "zoo.cfg" in server.log_text()


@aviary_only
def test_a_data_directory_that_is_a_file_is_refused(make_server, tmp_path):
    file = tmp_path / "plain"
    file.write_text("not a directory")
    status, log = refuse(make_server, f"dataDir={file}\nclientPort=0\nclientPortAddress=127.0.0.1\n")
    assert status == DATADIR_UNUSABLE, log
    assert str(file) in log


def test_a_port_in_use_is_refused(make_server, apache):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = make_server(start=False, port=port)
        server.start(wait=False)
        status = server.wait_exit(15)
    assert status > 0
    assert "in use" in server.log_text()
    assert apache or str(port) in server.log_text()


@aviary_only
def test_a_second_server_on_the_same_data_is_refused(make_server):
    first = make_server()
    second = make_server(start=False, data_dir=first.data_dir)
    second.start(wait=False)
    assert second.wait_exit(15) > 0
    lines = [line for line in second.log_text().splitlines() if first.data_dir in line]
    assert any("lock" in line or str(first.pid) in line for line in lines), second.log_text()
    assert first.four_letter("ruok") == "imok"
    with Client(first.address) as client:
        client.create("/still")
    first.kill()
    second.start()
    with Client(second.address) as client:
        assert client.exists("/still"), "the lock ends with its process"


# Notices

@aviary_only
@pytest.mark.parametrize("key, value", [
    ("wobble.factor", "7"), ("ticktime", "2000"), ("admin.enableServer", "true"),
    ("server.1", "127.0.0.1:2888:3888"), ("ssl.keyStore.location", "/nowhere.pem"),
    ("metricsProvider.className", "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider")])
def test_a_key_without_effect_is_warned_about_once(make_server, key, value):
    server = make_server(config={key: value})
    assert server.four_letter("ruok") == "imok"
    lines = warnings_of(server, key)
    assert len(lines) == 1, server.log_text()
    assert re.search(r"zoo\.cfg:\d+", lines[0]), lines


@aviary_only
@pytest.mark.parametrize("key, value", [
    ("serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory"),
    ("nio.numWorkerThreads", "4"), ("commitProcessor.numWorkerThreads", "4")])
def test_a_key_for_java_only_is_one_line_of_information(make_server, key, value):
    server = make_server(config={key: value})
    assert not warnings_of(server, key), server.log_text()
    assert sum(key in line for line in server.log_text().splitlines()) == 1, server.log_text()


@aviary_only
def test_a_plain_configuration_gives_no_warning(make_server):
    """Except that data below /tmp does not last, which these tests cannot avoid."""
    server = make_server()
    assert not [line for line in server.log_text().splitlines()
                if re.match(r"\S+ (WARN|ERROR)", line) and "dataDir" not in line], server.log_text()


@aviary_only
@pytest.mark.parametrize("key", ["autopurge.snapRetainCount", "snapCount"])
def test_a_value_that_apache_raises_is_raised_with_a_warning(make_server, key):
    server = make_server(config={key: 1})
    assert len(warnings_of(server, key)) == 1, server.log_text()


# Syntax

def test_the_syntax_is_that_of_java_properties(make_server):
    server = make_server(start=False, config_text=(
        "# a comment = nothing\n"
        "! and another\n"
        "   # and an indented one \\\n"
        "\n"
        "tickTime=9999\n"
        "dataDir : {data_dir}\n"
        "clientPort    {port}\n"
        "\tclientPortAddress\t=\t127.0.0.1\n"
        "4lw.commands.whitelist = srvr,\\\n"
        "    conf,\\\n"
        "\n"
        "minSessionTimeout=3\\u0030\\\n"
        "  0\\\n"
        "    0\n"
        "max\\\n"
        "  SessionTimeout:31000   \n"
        "maxClientCnxns=7\n"
        "tickTime=1500"))
    server.start()
    found = conf(server)
    assert found["tickTime"] == "1500", "the last one counts, and needs no line end"
    assert found["minSessionTimeout"] == "3000"
    assert found["maxSessionTimeout"] == "31000", "trailing blanks are no part of a number"
    assert found["maxClientCnxns"] == "7"
    assert "whitelist" in server.four_letter("mntr")


def test_lines_may_end_as_on_windows(make_server):
    server = make_server(start=False, config_text=(
        "tickTime=1700\r\ndataDir={data_dir}\r\nclientPort={port}\r\n"
        "clientPortAddress=127.0.0.1\r\n4lw.commands.whitelist=conf\r\n"))
    server.start()
    assert conf(server)["tickTime"] == "1700"


@aviary_only
def test_keys_may_carry_the_prefix_of_properties(make_server):
    server = make_server(config={
        "tickTime": None, "zookeeper.tickTime": 1900, "4lw.commands.whitelist": None,
        "zookeeper.4lw.commands.whitelist": "*", "zookeeper.maxSessionTimeout": 31000})
    found = conf(server)
    assert (found["tickTime"], found["maxSessionTimeout"]) == ("1900", "31000")
    assert not warnings_of(server, "zookeeper.tickTime"), server.log_text()


@aviary_only
@pytest.mark.parametrize("variable", ["SERVER_JVMFLAGS", "JVMFLAGS"])
def test_properties_of_the_jvm_flags_count(make_server, variable):
    server = make_server(environment={variable: "-Xmx1g -Djute.maxbuffer=3000 -Dzookeeper.maxCnxns=9"})
    accepts_up_to(server, 3000)


@aviary_only
def test_the_file_wins_over_the_jvm_flags(make_server):
    server = make_server(config={"jute.maxbuffer": 5000},
                         environment={"SERVER_JVMFLAGS": "-Djute.maxbuffer=3000"})
    accepts_up_to(server, 5000)


# Limits

def frame_of(length):
    """A setData whose frame has exactly this length."""
    head = wire.set_data("/f", b"")
    request = wire.request(1, "setData", wire.set_data("/f", b"x" * (length - len(head) - 8)))
    assert len(request) == 4 + length
    return request


def accepts_up_to(server, limit):
    with Client(server.address) as client:
        client.create("/f")
        client.send_bytes(frame_of(limit))
        assert client.reply().error == 0
        client.send_bytes(frame_of(limit + 1))
        client.wait_closed()
    with Client(server.address) as client:
        assert client.exists("/f").version == 1


def test_the_longest_frame_by_default(server):
    accepts_up_to(server, 0xfffff)


def test_the_longest_frame_as_configured(make_server):
    accepts_up_to(make_server(config={"jute.maxbuffer": 4096}), 4096)


def test_the_client_address_is_the_only_one(make_server):
    server = make_server(config={"clientPortAddress": "127.0.0.2"}, port=free_port())
    with Client(("127.0.0.2", server.port)) as client:
        client.create("/a")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_without_an_address_all_of_them_listen(make_server):
    server = make_server(config={"clientPortAddress": None}, port=free_port())
    for address in ("127.0.0.1", "127.0.0.9"):
        with Client((address, server.port)) as client:
            assert not client.refused
            client.close_session()


def connect_from(source, server):
    """A raw connection from one of the loopback addresses."""
    connection = Connection.__new__(Connection)
    connection.socket = socket.create_connection(server.address, timeout=10, source_address=(source, 0))
    connection.received = bytearray()
    return connection


def opens_session(connection):
    connection.send_bytes(wire.connect_request())
    try:
        return wire.decode_connected(connection.receive_frame()).timeout > 0
    except Closed:
        return False


def turned_away(source, server):
    """True when the server closes a new connection from there at once."""
    try:
        connection = connect_from(source, server)
    except OSError:  # The reset can be faster than the end of connect().
        return True
    try:
        return not opens_session(connection)
    finally:
        connection.close()


def alone(server):
    """Waits until no connection of an earlier four-letter word is left."""
    wait_until(lambda: server.mntr()["zk_num_alive_connections"] == "1", what="no other connection")


@pytest.mark.parametrize("setting, limit", [(None, 60), (3, 3)])
def test_connections_per_address(make_server, setting, limit):
    server = make_server(config={"maxClientCnxns": setting})
    alone(server)
    source = "127.0.0.5"
    held = [connect_from(source, server) for _ in range(limit)]
    try:
        assert all(opens_session(connection) for connection in held)
        assert turned_away(source, server)
        other = connect_from("127.0.0.6", server)
        assert opens_session(other), "another address has its own count"
        other.close()
        held.pop().close()

        def admitted():
            try:
                again = connect_from(source, server)
            except OSError:
                return False
            held.append(again)
            return opens_session(again) or held.pop().close()

        wait_until(admitted, what="a freed place is given again")
        assert all(connection.is_open() for connection in held)
    finally:
        for connection in held:
            connection.close()


def test_zero_means_any_number_from_one_address(make_server):
    server = make_server(config={"maxClientCnxns": 0})
    held = [connect_from("127.0.0.5", server) for _ in range(200)]
    assert all(opens_session(connection) for connection in held)
    for connection in held:
        connection.close()


def test_connections_in_all(make_server):
    server = make_server(config={"maxCnxns": 5})
    alone(server)
    held = []
    try:
        for index in range(5):
            held.append(connect_from(f"127.0.0.{10 + index}", server))
            assert opens_session(held[-1])
        assert turned_away("127.0.0.30", server)
        assert all(connection.is_open() for connection in held)
    finally:
        for connection in held:
            connection.close()


def taken(server, **arguments):
    """A client with a session, or None if the server wants no more of them now."""
    try:
        return Client(server.address, **arguments)
    except Closed:
        return None


def test_sessions_take_tokens_by_their_weight(make_server):
    server = make_server(config={
        "connection_throttle_tokens": 2, "connection_throttle_fill_time": 2**31 - 1,
        "connection_throttle_weight_enabled": "true"})
    first = taken(server)
    first.close()
    again = taken(server, session_id=first.session_id, password=first.password)
    assert again.session_id == first.session_id, "3 and 2 of the 6 tokens of two global sessions"
    assert taken(server) is None, "it would take 3"
    again.close()
    assert taken(server, session_id=first.session_id, password=first.password) is None, \
        "that would take 2"
    assert int(server.mntr()["zk_connection_drop_count"]) == 2


def test_without_weights_each_session_takes_a_token(make_server):
    server = make_server(config={
        "connection_throttle_tokens": 2, "connection_throttle_fill_time": 2**31 - 1,
        "connection_throttle_global_session_weight": 2})
    first, second = taken(server), taken(server)
    assert taken(server) is None
    first.close()
    second.close()
    assert taken(server, session_id=first.session_id, password=first.password) is None


@pytest.mark.parametrize("settings, expected", [
    ({}, {1: 4000, 5000: 5000, 2**31 - 1: 40000}),
    ({"minSessionTimeout": 3000, "maxSessionTimeout": 9000}, {1: 3000, 3500: 3500, 100000: 9000}),
    ({"tickTime": 500}, {1: 1000, 100000: 10000}),
    ({"minSessionTimeout": -1, "maxSessionTimeout": -1}, {1: 4000, 2**31 - 1: 40000}),
    ({"maxSessionTimeout": 70000}, {0: 4000, 100000: 70000}),
])
def test_session_timeouts_are_clamped(make_server, settings, expected):
    server = make_server(config=settings)
    for asked, given in expected.items():
        with Client(server.address, timeout=asked) as client:
            assert client.timeout == given, asked
            client.close_session()


# Directories

def test_a_directory_of_its_own_for_the_log(make_server, tmp_path):
    log_dir = tmp_path / "new" / "log"
    server = make_server(config={"dataLogDir": log_dir}, data_dir=tmp_path / "data")
    with Client(server.address) as client:
        client.create("/a")
    assert any(name.startswith("log.") for name in os.listdir(log_dir / "version-2"))
    names = os.listdir(tmp_path / "data" / "version-2")
    assert not any(name.startswith("log.") for name in names), names
    found = conf(server)
    assert found["dataLogDir"] == str(log_dir / "version-2")
    assert found["dataDir"] == str(tmp_path / "data" / "version-2")
    server.restart(crash=True)
    with Client(server.address) as client:
        assert client.exists("/a")


def test_the_data_directory_is_made_when_missing(make_server, tmp_path):
    server = make_server(start=False, data_dir=tmp_path / "one")
    server.data_dir = str(tmp_path / "two" / "three")
    server.start()
    assert os.path.isdir(tmp_path / "two" / "three" / "version-2")


@aviary_only
def test_a_data_directory_is_not_made_against_the_will(make_server, tmp_path):
    server = make_server(start=False, data_dir=tmp_path / "one",
                         config={"datadir.autocreate": "false"})
    server.data_dir = str(tmp_path / "missing")
    server.start(wait=False)
    assert server.wait_exit(15) == DATADIR_UNUSABLE, server.log_text()
    assert not os.path.exists(tmp_path / "missing")


# Ends

@aviary_only
def test_the_server_says_where_it_listens(make_server):
    server = make_server()
    line = next(line for line in server.log_text().splitlines() if "listening" in line)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* INFO ", line), line
    assert "address=127.0.0.1" in line and f"port={server.port}" in line


def test_two_ends_by_signal(make_server):
    """SIGTERM ends with status 0, also with clients connected, and nothing acknowledged is lost."""
    server = make_server()
    with Client(server.address) as client:
        for index in range(100):
            client.create(f"/n{index}")
        server.stop()
        with pytest.raises(Closed):
            client.receive_frame()
    server.start()
    with Client(server.address) as client:
        assert len(client.children("/")) == 101
