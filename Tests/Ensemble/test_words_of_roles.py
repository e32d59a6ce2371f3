"""Four-letter words in each role: what operators and monitors of an ensemble look at.

Apache's server is the measure: an ensemble of its kind, in the same state, tells what is expected.
"""
import re
import types

import pytest

import wire
from ensemble import Ensemble, chosen_kinds
from harness import wait_until

#: What Apache measures in the machinery of its own: the JVM, its request processors and their
#: queues, caches and thread pools. Nobody else can have these.
MACHINERY = re.compile(r"""(^zk_|_)(
    jvm_pause_time_ms | \w*dead_watcher\w* | netty_\w+ | response_packet_\w+ | \w+_per_namespace |
    \w*commit_?proc(essor)?(_\w+)? | commit_process_time | \w*session_queues?(_\w+)? |
    (read|write)_final_proc_time_ms | (local|server)_write_committed_time_ms |
    prep_process(or)?_\w+ | close_session_prep_time | sync_process_time |
    sync_processor_(request_queued | queue_time_ms | queue_and_flush_time_ms) |
    request_commit_queued | request_throttle_queue_time_ms | requests_not_forwarded_\w+ |
    skip_learner_request_\w+ | learner_request_processor_queue_size | learner_handler_qp_\w+ |
    om_\w+_process_time_ms | outstanding_changes_(queued|removed) | proposal_process_time |
    socket_closing_time | connection_token_deficit | startup_txns_loaded )$""", re.VERBOSE)
#: In the same state these are equal.
VALUES = """server_state peer_state quorum_size learners synced_followers synced_observers
    synced_non_voting_followers pending_syncs global_sessions local_sessions znode_count
    ephemerals_count approximate_data_size watch_count num_alive_connections outstanding_requests
    digest_mismatches_count observer_master_id""".split()

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
ANYTHING = r"[^\n]+"


def stage(ensemble):
    """Three participants and an observer, each with one session; one owns a znode and a watch."""
    sessions = [member.session() for member in ensemble]
    sessions[0].create("/node", b"data")
    sessions[0].create("/node/mine", flags=wire.EPHEMERAL)
    for session in sessions:
        session.ask("sync", wire.path_only("/"))
    sessions[0].get("/node", watch=True)
    return types.SimpleNamespace(ensemble=ensemble, sessions=sessions)


@pytest.fixture(scope="module")
def scene(make_shared_ensemble):
    return stage(make_shared_ensemble(4, leader=3, observers=1))


@pytest.fixture(scope="module")
def reference():
    """{server id: mntr} and the like of Apache's servers in the same roles."""
    with Ensemble(["apache"] * 4, observers=1) as ensemble:
        ensemble.start(leader=3)
        staged = stage(ensemble)
        yield types.SimpleNamespace(
            staged=staged,  # The sessions last as long as the reference.
            mntr={member.id: member.mntr() for member in ensemble},
            conf={member.id: member.four_letter("conf") for member in ensemble},
            srvr={member.id: member.four_letter("srvr") for member in ensemble})


@pytest.mark.parametrize("server_id", [1, 3, 4], ids=["follower", "leader", "observer"])
def test_mntr_keys(scene, reference, server_id):
    found = set(scene.ensemble[server_id].mntr())
    wanted = {key for key in reference.mntr[server_id] if not MACHINERY.search(key)}
    assert not wanted - found, f"missing: {sorted(wanted - found)}"
    elsewhere = {key for keys in reference.mntr.values() for key in keys} - set(
        reference.mntr[server_id])
    elsewhere = {key for key in elsewhere if not MACHINERY.search(key)}
    assert not found & elsewhere, f"of another role: {sorted(found & elsewhere)}"


@pytest.mark.parametrize("server_id", [1, 3, 4], ids=["follower", "leader", "observer"])
def test_mntr_values(scene, reference, server_id):
    found, wanted = scene.ensemble[server_id].mntr(), reference.mntr[server_id]
    keys = [f"zk_{name}" for name in VALUES]
    assert {key: found.get(key) for key in keys} == {key: wanted.get(key) for key in keys}


def test_mntr_of_the_leader(scene):
    """The numbers themselves, so that the reference isn't the only witness."""
    numbers = scene.ensemble[3].mntr()
    names = "server_state learners synced_followers synced_observers pending_syncs".split()
    assert [numbers[f"zk_{name}"] for name in names] == ["leader", "3", "2", "1", "0"]
    assert int(numbers["zk_leader_uptime"]) > 0
    assert int(numbers["zk_proposal_count"]) >= 6, "four sessions, two znodes"
    assert int(numbers["zk_commit_count"]) >= 6
    # A learner that joined an empty ensemble got an empty tree in one way or the other.
    assert int(numbers["zk_diff_count"]) + int(numbers["zk_snap_count"]) >= 3
    for follower in (1, 2):
        numbers = scene.ensemble[follower].mntr()
        assert int(numbers["zk_learner_proposal_received_count"]) >= 2
        assert int(numbers["zk_learner_commit_received_count"]) >= 2


@pytest.mark.parametrize("server_id, role", [(1, "follower"), (3, "leader"), (4, "observer")])
def test_srvr_and_stat(scene, reference, server_id, role):
    lines = r"Latency min/avg/max: \d+/\d+\.\d{1,4}/\d+\n" \
            r"Received: \d+\nSent: \d+\nConnections: \d+\nOutstanding: \d+\n" \
            rf"Zxid: 0x1[0-9a-f]{{8}}\nMode: {role}\nNode count: 7\n"
    if role == "leader":
        lines += r"Proposal sizes last/min/max: -?\d+/-?\d+/-?\d+\n"
    srvr = rf"Zookeeper version: [^\n]+, built on [^\n]+\n{lines}"
    for answer in (reference.srvr[server_id], scene.ensemble[server_id].four_letter("srvr")):
        assert re.fullmatch(srvr, answer), answer
    answer = scene.ensemble[server_id].four_letter("stat")
    clients = r"Clients:\n( /127\.0\.0\.1:\d+\[\d\]\(queued=\d+,recved=\d+,sent=\d+\)\n)+\n"
    assert re.fullmatch(srvr.replace(r"+\nLatency", rf"+\n{clients}Latency"), answer), answer


@pytest.mark.parametrize("server_id", [1, 3, 4], ids=["follower", "leader", "observer"])
def test_conf(scene, reference, server_id):
    """The same lines in the same order; of each server its own ports and directories."""
    member = scene.ensemble[server_id]
    answer = member.four_letter("conf")
    assert re.sub("=.*", "=", answer) == re.sub("=.*", "=", reference.conf[server_id])
    fields = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    assert fields["serverId"] == str(server_id)
    assert (fields["initLimit"], fields["syncLimit"], fields["electionAlg"]) == ("50", "10", "3")
    assert fields["electionPort"] == str(member.election_port)
    assert fields["quorumPort"] == str(member.quorum_port)
    assert fields["peerType"] == str(int(member.observer))
    for other in scene.ensemble:
        role = "observer" if other.observer else "participant"
        assert fields[f"server.{other.id}"] == \
            f"127.0.0.1:{other.quorum_port}:{other.election_port}:{role}"


@pytest.mark.parametrize("server_id", [1, 4], ids=["follower", "observer"])
def test_dump_of_a_learner(scene, server_id):
    """It knows of all sessions, not when they end."""
    answer = scene.ensemble[server_id].four_letter("dump")
    owner = scene.sessions[0].session_id
    head, _, sessions = answer.partition("ephemeral nodes dump:\n")[0].partition("(4):\n")
    assert head == "SessionTracker dump:\nGlobal Sessions"
    assert sorted(sessions.splitlines()) == sorted(
        f"{hex(session.session_id)}\t20000ms" for session in scene.sessions)
    assert f"ephemeral nodes dump:\nSessions with Ephemerals (1):\n{hex(owner)}:\n\t/node/mine\n" in answer


def test_dump_of_the_leader(scene):
    answer = scene.ensemble[3].four_letter("dump")
    owner = scene.sessions[0].session_id
    assert re.match(r"SessionTracker dump:\nSession Sets \(\d+\)/\(4\):\n"
                    rf"(\d+ expire at {ANYTHING}:\n(\t0x[0-9a-f]+\n)*)+"
                    r"ephemeral nodes dump:\nSessions with Ephemerals \(1\):\n"
                    rf"{hex(owner)}:\n\t/node/mine\n", answer), answer
    for session in scene.sessions:
        assert f"\t{hex(session.session_id)}\n" in answer


@pytest.mark.parametrize("server_id", [1, 3, 4], ids=["follower", "leader", "observer"])
def test_cons(scene, server_id):
    """Wherever a client is connected, its session is told."""
    session = scene.sessions[server_id - 1].session_id
    line = next(line for line in scene.ensemble[server_id].four_letter("cons").splitlines()
                if f"sid={hex(session)}," in line)
    assert re.search(r",lop=\w+,est=\d+,to=20000,lcxid=0x[0-9a-f]+,lzxid=0x[0-9a-f]+,", line), line


def test_watches_are_of_their_server(scene):
    assert scene.ensemble[1].four_letter("wchs").startswith(
        "1 connections watching 1 paths\nTotal watches:1\n")
    for server_id in (2, 3, 4):
        assert scene.ensemble[server_id].four_letter("wchs").startswith(
            "0 connections watching 0 paths\nTotal watches:0\n")


def test_times_of_roles(scene):
    """How long it took to find them, and how long that left clients without service."""
    numbers = {server_id: scene.ensemble[server_id].mntr() for server_id in (1, 3, 4)}

    def measured(name):
        return [int(numbers[server_id][f"zk_{name}"]) > 0 for server_id in (1, 3, 4)]

    assert measured("cnt_election_time") == [True, True, False], "an observer elects nobody"
    assert measured("cnt_unavailable_time") == [True, True, True]
    assert measured("cnt_leader_unavailable_time") == [False, True, False]
    assert measured("cnt_follower_sync_time") == [True, False, False]
    assert measured("cnt_observer_sync_time") == [False, False, True]
    assert measured("looking_count") == [True, True, True]
    for server_id in (1, 3, 4):
        assert 0 < int(numbers[server_id]["zk_max_unavailable_time"]) < 30_000
        assert 0 < int(numbers[server_id]["zk_uptime"]) < 600_000


def test_a_change_of_leader(make_ensemble):
    """The new leader begins its numbers anew, and counts what became of the old one."""
    ensemble = make_ensemble(3, leader=3)
    with ensemble[3].session() as client:
        client.create("/before", b"x" * 100)
    before = {member: member.mntr() for member in (ensemble[1], ensemble[2])}
    ensemble[3].kill()
    leader = ensemble.wait_formed()
    answer = leader.four_letter("srvr")
    assert "Proposal sizes last/min/max: -1/-1/-1\n" in answer
    assert "Zxid: 0x200000000\n" in answer, "the beginning of its epoch, before any transaction"
    for member in ensemble.others():
        numbers = member.mntr()
        for key in ("zk_looking_count", "zk_cnt_election_time", "zk_cnt_unavailable_time"):
            assert int(numbers[key]) > int(before[member][key]), key
        assert numbers["zk_last_client_response_size"] == "-1", "of an earlier role"
    assert leader.metric("cnt_leader_unavailable_time") >= 1
    with leader.session() as client:
        client.create("/after", b"x" * 1000)
        sizes = re.search(r"Proposal sizes last/min/max: (\d+)/(\d+)/(\d+)\n",
                          leader.four_letter("srvr"))
        last, least, greatest = map(int, sizes.groups())
        assert least < 100 and last == greatest > 1000, sizes
        assert leader.metric("last_proposal_size") == last
        assert leader.metric("commit_count") == leader.metric("proposal_count") == 2
        assert leader.metric("cnt_quorum_ack_latency") == 2
        assert leader.four_letter("srst") == "Server stats reset.\n"
        assert "Proposal sizes last/min/max: -1/-1/-1\n" in leader.four_letter("srvr")
        assert leader.metric("commit_count") == 0


def test_acknowledgements_are_measured_server_by_server(make_ensemble):
    """Of three servers two are waited for, and what is committed is not measured any more."""
    ensemble = make_ensemble(3, leader=3, config={"leader.ackLoggingFrequency": "1"})
    with ensemble[1].session() as client:
        for index in range(20):
            client.create(f"/node{index}")
        numbers = ensemble[3].mntr()
        counts = {int(key.split("_")[2]): int(value) for key, value in numbers.items()
                  if re.fullmatch(r"zk_cnt_\d+_ack_latency", key)}
        assert set(counts) <= {1, 2, 3} and len(counts) >= 2, counts
        assert sum(counts.values()) == 2 * int(numbers["zk_proposal_count"]), counts
        for server_id in counts:
            for part in "avg min max sum p50 p95 p99 p999".split():
                assert float(numbers[f"zk_{part}_{server_id}_ack_latency"]) >= 0
        assert not any("_ack_latency" in key and "quorum" not in key for key in ensemble[1].mntr())


def test_a_session_that_moves_is_revalidated(make_ensemble):
    ensemble = make_ensemble(3, leader=3)
    session = ensemble[1].session()
    with ensemble[2].session(session=session) as moved:
        assert moved.session_id == session.session_id
        moved.exists("/")
        assert ensemble[3].metric("revalidate_count") == 1
        assert [member.metric("connection_revalidate_count") for member in ensemble] == [0, 1, 0]
    session.close()


@pytest.mark.parametrize("kind", sorted(set(chosen_kinds(2))))
def test_without_a_quorum(make_ensemble, kind):
    """Alive, and of no use."""
    ensemble = make_ensemble([kind] * 3, start=False)
    member = ensemble[1]
    member.start()
    member.wait_answer()
    for word in "conf cons crst dirs dump mntr srst srvr stat wchc wchp wchs".split():
        assert member.four_letter(word) == NOT_SERVING, word
    assert member.four_letter("ruok") == "imok"
    assert member.four_letter("isro") == "null"
    assert member.four_letter("envi").startswith("Environment:\nzookeeper.version=")


@pytest.mark.parametrize("kind", sorted(set(chosen_kinds(2))))
def test_in_read_only_mode(make_ensemble, kind):
    """What takes part in no quorum says nothing of one."""
    ensemble = make_ensemble([kind] * 3, start=False, config={"readonlymode.enabled": "true"})
    member = ensemble[1]
    member.start()
    member.wait_answer()
    wait_until(lambda: member.four_letter("isro") == "ro", 20, "read-only mode")
    assert re.fullmatch(
        rf"Zookeeper version: {ANYTHING}\nREAD-ONLY mode; serving only read-only clients\n"
        rf"(?s:.*)Mode: read-only\nNode count: \d+\n", member.four_letter("srvr"))
    assert member.four_letter("stat").splitlines()[1:3] == [
        "READ-ONLY mode; serving only read-only clients", "Clients:"]
    numbers = member.mntr()
    assert numbers["zk_server_state"] == "read-only"
    assert not {"zk_peer_state", "zk_quorum_size", "zk_learners"} & set(numbers)
    assert member.four_letter("conf").splitlines()[-1] == "peerType=0"
    assert member.four_letter("dump").startswith("SessionTracker dump:\nGlobal Sessions(0):\n")


def test_dump_with_local_sessions(make_ensemble):
    """Each server knows when those of its own end."""
    ensemble = make_ensemble(3, leader=3, config={"localSessionsEnabled": "true"})
    for member, behind in ((ensemble[1], "Global Sessions(0):\n"),
                           (ensemble[3], "Global Session Sets (0)/(0):\n")):
        with member.session() as client:
            assert re.match(
                rf"SessionTracker dump:\nLocal Session Sets \(\d\)/\(1\):\n"
                rf"(0 expire at {ANYTHING}:\n)?1 expire at {ANYTHING}:\n\t{hex(client.session_id)}\n"
                rf"{re.escape(behind)}ephemeral nodes dump:\n", member.four_letter("dump"))
            assert member.metric("local_sessions") == 1 and member.metric("global_sessions") == 0
            client.close_session()
