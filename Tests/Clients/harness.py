"""Starts and ends ZooKeeper servers, ours or Apache's, for tests that look at them from outside.

    with Server() as server:                       # Aviary, or what AVIARY_TEST_SERVER names
        server.four_letter("srvr")
        server.kill(); server.start()              # crash and recovery on the same data and port

Environment:
    AVIARY_SERVER       the zkServer binary (default: .build/release/zkServer of this repository)
    AVIARY_TEST_SERVER  'aviary' (default) or 'apache': the kind that Server() starts
    APACHE_CLASSPATH    jars of Apache ZooKeeper (default: Debian's, in /usr/share/java)
"""
import atexit
import glob
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "Tests" / "Fixtures"
START_SECONDS = 30
STOP_SECONDS = 20

# Properties that Apache reads without the "zookeeper." prefix: in its zoo.cfg they have no effect.
APACHE_BARE_PROPERTIES = ("jute.maxbuffer",)

_running = set()


@atexit.register
def _end_leftovers():
    for process in list(_running):
        if process.poll() is None:
            process.kill()
            process.wait()


def default_kind():
    return os.environ.get("AVIARY_TEST_SERVER", "aviary")


def aviary_binary():
    return os.environ.get("AVIARY_SERVER") or str(REPOSITORY / ".build" / "release" / "zkServer")


def free_port():
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds=10, what="condition", every=0.02):
    """Polls until `condition()` is true and returns its value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(every)


def _apache_classpath():
    given = os.environ.get("APACHE_CLASSPATH")
    if given:
        return given
    names = ["zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "commons-cli", "commons-io",
             "jackson-annotations", "jackson-core", "jackson-databind", "metrics-core", "snappy-java",
             "netty-buffer", "netty-common", "netty-handler", "netty-transport", "netty-codec",
             "netty-resolver", "netty-transport-native-epoll", "netty-transport-native-unix-common"]
    jars = [f"/usr/share/java/{name}.jar" for name in names]
    jars += glob.glob("/usr/share/java/jetty9-*.jar")
    return ":".join(jar for jar in jars if os.path.exists(jar))


class StartFailure(AssertionError):
    """The server ended, or did not serve in time; the message carries its log."""


class Server:
    """One standalone server process with its own directories.

    `config` holds further zoo.cfg keys; a value of None removes a default key. `config_text`
    replaces the whole file ("{data_dir}" and "{port}" in it are filled in). For Apache, `properties`
    are passed as -D options, and so are the keys of `config` that it reads only as such. `java_options`
    go to the JVM as they are.

    A directory given as `data_dir` is left alone at the end; one that was made here is removed, unless
    the test failed inside the `with` block.
    """

    def __init__(self, kind=None, data_dir=None, config=None, port=None, *, config_text=None,
                 properties=None, java_options=(), environment=None):
        self.kind = kind or default_kind()
        assert self.kind in ("aviary", "apache"), self.kind
        self.work_dir = tempfile.mkdtemp(prefix=f"{self.kind}-")
        self._owns_data = data_dir is None
        self.data_dir = str(data_dir) if data_dir else os.path.join(self.work_dir, "data")
        os.makedirs(self.data_dir, exist_ok=True)
        #: Holds server.log, what the process wrote to stdout and stderr; not the transaction log.
        self.log_dir = os.path.join(self.work_dir, "log")
        os.makedirs(self.log_dir, exist_ok=True)
        self.log_file = os.path.join(self.log_dir, "server.log")
        self.config_file = os.path.join(self.work_dir, "zoo.cfg")
        self.config = dict(config or {})
        self.config_text = config_text
        self.properties = dict(properties or {})
        self.java_options = list(java_options)
        self.environment = dict(environment or {})
        self._port = port
        self.process = None
        self._log_start = 0

    # Life

    def start(self, wait=True):
        """Starts the process and, with `wait`, returns when it serves."""
        assert self.process is None or self.process.poll() is not None, "already running"
        if self._port is None and self.kind == "apache":
            self._port = free_port()
        self.write_config()
        self._log_start = os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0
        environment = {**os.environ, **self.environment}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.work_dir, env=environment)
        _running.add(self.process)
        if wait:
            self.wait_ready()
        return self

    def command(self):
        if self.kind == "aviary":
            return [aviary_binary(), "start-foreground", self.config_file]
        properties = {"org.slf4j.simpleLogger.defaultLogLevel": "info",
                      "org.slf4j.simpleLogger.showDateTime": "true",
                      "zookeeper.extendedTypesEnabled": "true",
                      "java.net.preferIPv4Stack": "true"}
        for key in APACHE_BARE_PROPERTIES:
            if self.config.get(key) is not None:
                properties[key] = self.config[key]
        properties.update(self.properties)
        options = [f"-D{key}={value}" for key, value in properties.items()]
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                *self.java_options, *options, "-cp", _apache_classpath(),
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.config_file]

    def write_config(self):
        port = self._port if self._port is not None else 0
        if self.config_text is not None:
            text = self.config_text.replace("{data_dir}", self.data_dir).replace("{port}", str(port))
        else:
            keys = {"tickTime": 2000, "dataDir": self.data_dir, "clientPort": port,
                    "clientPortAddress": "127.0.0.1", "maxClientCnxns": 0,
                    "4lw.commands.whitelist": "*"}
            if self.kind == "apache":
                keys["admin.enableServer"] = "false"
            else:
                keys["extendedTypesEnabled"] = "true"
            keys.update(self.config)
            text = "".join(f"{key}={value}\n" for key, value in keys.items() if value is not None)
        with open(self.config_file, "w", encoding="utf-8") as file:
            file.write(text)

    def wait_ready(self, seconds=START_SECONDS):
        """Waits until clients are served, without opening a session (that would use a zxid)."""
        deadline = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise StartFailure(f"the server ended with {self.process.returncode}\n{self.log_tail()}")
            if self._serves():
                return self
            if time.monotonic() > deadline:
                raise StartFailure(f"the server does not serve after {seconds} s\n{self.log_tail()}")
            time.sleep(0.02 if self.kind == "aviary" else 0.1)

    def _serves(self):
        if self._port is None:
            listening = re.search(r"listening\b.*\bport=(\d+)", self.log_text(this_run=True))
            if not listening:
                return False
            self._port = int(listening.group(1))
        try:
            answer = self.four_letter("srvr", seconds=2)
            if "whitelist" in answer:
                answer = self.four_letter("ruok", seconds=2)
        except OSError:
            return False
        return "Mode:" in answer or answer == "imok" or "whitelist" in answer

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM; Aviary must end with status 0. Returns the exit status."""
        assert self.process is not None and self.process.poll() is None, \
            f"not running (exit {self.process and self.process.returncode})\n{self.log_tail()}"
        self.process.terminate()
        status = self.wait_exit(seconds)
        if self.kind == "aviary":
            assert status == 0, f"SIGTERM: exit status {status}, expected 0\n{self.log_tail()}"
        return status

    def kill(self):
        """SIGKILL, as a crash of the process."""
        assert self.process is not None, "never started"
        self.process.kill()
        self.process.wait()
        _running.discard(self.process)

    def wait_exit(self, seconds=STOP_SECONDS):
        """Waits for the end of the process and returns its status; kills it when the time is over."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            _running.discard(self.process)
            raise AssertionError(f"still running after {seconds} s\n{self.log_tail()}") from None
        _running.discard(self.process)
        return status

    def restart(self, crash=False):
        if crash:
            self.kill()
        else:
            self.stop()
        return self.start()

    def __enter__(self):
        if self.process is None:
            try:
                self.start()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, kind, value, trace):
        self.close(keep=kind is not None)

    def close(self, keep=False):
        """Ends the process if it runs and removes the directories made here."""
        died = None
        if self.process is not None:
            if self.process.poll() is None:
                self.kill()
            elif self.process.returncode < 0 and self.process.returncode not in (
                    -signal.SIGKILL, -signal.SIGTERM):
                died = f"the server died of signal {-self.process.returncode}\n{self.log_tail()}"
            _running.discard(self.process)
        if not keep:
            shutil.rmtree(self.work_dir, ignore_errors=True)
        if died:
            raise AssertionError(died)

    # Views

    @property
    def port(self):
        assert self._port is not None, "the port is known once the server listens"
        return self._port

    @property
    def hosts(self):
        return f"{self.host}:{self.port}"

    @property
    def host(self):
        """Where to connect: the configured address, unless the server listens on all."""
        return self.config.get("clientPortAddress") or "127.0.0.1"

    @property
    def address(self):
        return (self.host, self.port)

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log_text(self, this_run=False):
        """What the server logged: since the first start, or since the last one."""
        try:
            with open(self.log_file, "rb") as file:
                if this_run:
                    file.seek(self._log_start)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=40):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def wait_log(self, pattern, seconds=10):
        """Waits for a line of this run that matches `pattern` and returns the match."""
        return wait_until(lambda: re.search(pattern, self.log_text(this_run=True)), seconds,
                          f"log line /{pattern}/")

    def four_letter(self, word, seconds=5):
        """Sends one four-letter word and returns all of the answer."""
        with socket.create_connection(self.address, timeout=seconds) as connection:
            connection.sendall(word.encode())
            answer = b""
            deadline = time.monotonic() + seconds
            while True:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    data = connection.recv(65536)
                except ConnectionResetError:
                    break
                if not data:
                    break
                answer += data
        return answer.decode(errors="replace")

    def mntr(self):
        """The answer to `mntr` as a dictionary of strings."""
        lines = (line.split("\t", 1) for line in self.four_letter("mntr").splitlines())
        return {pair[0]: pair[1] for pair in lines if len(pair) == 2}

    def resident_bytes(self):
        """Resident memory of the process."""
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def files(self, prefix=""):
        """Names in the version-2 directories of data and log, sorted."""
        directories = {os.path.join(self.data_dir, "version-2")}
        if self.config.get("dataLogDir"):
            directories.add(os.path.join(str(self.config["dataLogDir"]), "version-2"))
        names = [name for directory in directories if os.path.isdir(directory)
                 for name in os.listdir(directory)]
        return sorted(name for name in names if name.startswith(prefix))
