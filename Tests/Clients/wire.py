"""A small client of the ZooKeeper protocol on plain sockets, for tests that look at frames.

It keeps no promise a client library makes: no thread, no ping, no reconnect, no interpretation.
Every wait has a deadline. Fields are read strictly: bytes left over are an error of the test.
"""
import base64
import hashlib
import select
import socket
import struct
import time
from typing import NamedTuple, Optional

OPCODES = {
    "create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5, "getACL": 6, "setACL": 7,
    "getChildren": 8, "sync": 9, "ping": 11, "getChildren2": 12, "check": 13, "multi": 14,
    "create2": 15, "reconfig": 16, "checkWatches": 17, "removeWatches": 18, "createContainer": 19,
    "deleteContainer": 20, "createTTL": 21, "multiRead": 22, "auth": 100, "setWatches": 101,
    "sasl": 102, "getEphemerals": 103, "getAllChildrenNumber": 104, "setWatches2": 105,
    "addWatch": 106, "whoAmI": 107, "createSession": -10, "closeSession": -11}
OPCODE_NAMES = {code: name for name, code in OPCODES.items()}

EVENT_XID, PING_XID, AUTH_XID, SET_WATCHES_XID = -1, -2, -4, -8

OK = 0
RUNTIMEINCONSISTENCY, MARSHALLINGERROR, UNIMPLEMENTED, BADARGUMENTS = -2, -5, -6, -8
NONODE, NOAUTH, BADVERSION, NOCHILDRENFOREPHEMERALS = -101, -102, -103, -108
NODEEXISTS, NOTEMPTY, SESSIONEXPIRED, INVALIDACL, AUTHFAILED = -110, -111, -112, -114, -115
NOWATCHER, QUOTAEXCEEDED = -121, -125

PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = range(7)
CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4
SYNC_CONNECTED = 3

OPEN_ACL = ((31, "world", "anyone"),)
NO_PASSWORD = b"\0" * 16
SECONDS = 10.0


class Closed(Exception):
    """The server closed (or reset) the connection."""


class Silence(Exception):
    """No whole frame arrived before the deadline."""


class ZooKeeperError(Exception):
    def __init__(self, code, context=""):
        super().__init__(f"error {code} {context}".strip())
        self.code = code


class Stat(NamedTuple):
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeralOwner: int
    dataLength: int
    numChildren: int
    pzxid: int


class Event(NamedTuple):
    zxid: int
    type: int
    state: int
    path: str


class Reply(NamedTuple):
    xid: int
    zxid: int
    error: int
    body: bytes


class Connected(NamedTuple):
    protocol: int
    timeout: int
    session_id: int
    password: bytes
    read_only: Optional[bool]


class Encoder:
    def __init__(self):
        self.bytes = bytearray()

    def raw(self, value):
        self.bytes += value
        return self

    def int(self, value):
        return self.raw(struct.pack(">i", value))

    def long(self, value):
        return self.raw(struct.pack(">q", value))

    def bool(self, value):
        return self.raw(b"\1" if value else b"\0")

    def buffer(self, value):
        return self.int(-1) if value is None else self.int(len(value)).raw(value)

    def string(self, value):
        return self.buffer(value.encode() if isinstance(value, str) else value)

    def strings(self, values):
        if values is None:
            return self.int(-1)
        self.int(len(values))
        for value in values:
            self.string(value)
        return self

    def acl(self, entries):
        if entries is None:
            return self.int(-1)
        self.int(len(entries))
        for permissions, scheme, identity in entries:
            self.int(permissions).string(scheme).string(identity)
        return self


class Decoder:
    def __init__(self, data):
        self.data, self.position = bytes(data), 0

    def take(self, count):
        part = self.data[self.position:self.position + count]
        if len(part) != count:
            raise AssertionError(f"{count} bytes needed, {len(part)} left in {self.data.hex()}")
        self.position += count
        return part

    def _unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def int(self):
        return self._unpack(">i")[0]

    def long(self):
        return self._unpack(">q")[0]

    def bool(self):
        value = self.take(1)[0]
        assert value in (0, 1), f"boolean byte {value}"
        return bool(value)

    def buffer(self):
        count = self.int()
        assert count >= -1, f"length {count}"
        return None if count == -1 else self.take(count)

    def string(self):
        value = self.buffer()
        return None if value is None else value.decode("utf-8", "surrogatepass")

    def vector(self, element):
        count = self.int()
        assert count >= -1, f"count {count}"
        return None if count == -1 else [element() for _ in range(count)]

    def strings(self):
        return self.vector(self.string)

    def acl(self):
        return self.vector(lambda: (self.int(), self.string(), self.string()))

    def stat(self):
        return Stat(*self._unpack(">qqqqiiiqiiq"))

    def rest(self):
        return self.data[self.position:]

    def end(self):
        assert not self.rest(), f"{len(self.rest())} bytes too many: {self.rest().hex()}"


# Bodies of requests

def create(path, data=b"", acl=OPEN_ACL, flags=PERSISTENT):
    return bytes(Encoder().string(path).buffer(data).acl(acl).int(flags).bytes)


def create_ttl(path, data=b"", acl=OPEN_ACL, flags=TTL, ttl=60000):
    return bytes(Encoder().string(path).buffer(data).acl(acl).int(flags).long(ttl).bytes)


def path_only(path):
    return bytes(Encoder().string(path).bytes)


def path_version(path, version=-1):
    return bytes(Encoder().string(path).int(version).bytes)


def path_watch(path, watch=False):
    return bytes(Encoder().string(path).bool(watch).bytes)


def set_data(path, data, version=-1):
    return bytes(Encoder().string(path).buffer(data).int(version).bytes)


def set_acl(path, acl, version=-1):
    return bytes(Encoder().string(path).acl(acl).int(version).bytes)


def add_watch(path, mode):
    return bytes(Encoder().string(path).int(mode).bytes)


def auth(scheme, data):
    return bytes(Encoder().int(0).string(scheme).buffer(data).bytes)


def set_watches(zxid, data=(), exist=(), child=()):
    return bytes(Encoder().long(zxid).strings(data).strings(exist).strings(child).bytes)


def multi_header(opcode, done=False, error=-1):
    return bytes(Encoder().int(opcode).bool(done).int(error).bytes)


def multi(*operations):
    """Operations are pairs of name and body."""
    parts = [multi_header(OPCODES[name]) + body for name, body in operations]
    return b"".join(parts) + multi_header(-1, True)


def frame(payload):
    return struct.pack(">i", len(payload)) + bytes(payload)


def request(xid, operation, body=b""):
    opcode = OPCODES[operation] if isinstance(operation, str) else operation
    return frame(struct.pack(">ii", xid, opcode) + body)


def connect_request(timeout=10000, session_id=0, password=NO_PASSWORD, last_zxid=0, read_only=False,
                    protocol=0):
    """`read_only=None` leaves the byte out, as clients before 3.4 do."""
    record = Encoder().int(protocol).long(last_zxid).int(timeout).long(session_id).buffer(password)
    if read_only is not None:
        record.bool(read_only)
    return frame(record.bytes)


def decode_connected(payload):
    fields = Decoder(payload)
    answer = Connected(fields.int(), fields.int(), fields.long(), fields.buffer(),
                       fields.bool() if fields.rest() else None)
    fields.end()
    return answer


def decode_multi(fields):
    """Results as (type, error, value) tuples."""
    results = []
    while True:
        kind, done, error = fields.int(), fields.bool(), fields.int()
        if done:
            assert (kind, error) == (-1, -1), (kind, error)
            return results
        value = {1: fields.string, 15: lambda: (fields.string(), fields.stat()), 5: fields.stat,
                 4: lambda: (fields.buffer(), fields.stat()), 8: fields.strings, -1: fields.int,
                 2: lambda: None, 13: lambda: None}[kind]()
        results.append((kind, error, value))


def session_password(session_id):
    """The password of a session: Java's Random seeded with the id XOR 0xB3415C00."""
    state = ((session_id ^ 0xB3415C00) ^ 0x5DEECE66D) & (2**48 - 1)
    password = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & (2**48 - 1)
        password += struct.pack("<I", state >> 16)
    return password


def digest_id(user_and_password):
    """The id of the digest scheme for "user:password"."""
    user = user_and_password.split(":", 1)[0]
    digest = hashlib.sha1(user_and_password.encode()).digest()
    return f"{user}:{base64.b64encode(digest).decode()}"


class Connection:
    """Frames in, frames out, on one socket."""

    def __init__(self, address, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(SECONDS)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()

    def send_bytes(self, data):
        """A connection that the server closes meanwhile shows in the next `receive_frame`."""
        self.socket.settimeout(SECONDS)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive_frame(self, seconds=SECONDS):
        """The payload of the next frame."""
        deadline = time.monotonic() + seconds
        while True:
            if len(self.received) >= 4:
                length = struct.unpack(">i", self.received[:4])[0]
                assert length >= 0, f"the server sent length {length}"
                if len(self.received) >= 4 + length:
                    payload = bytes(self.received[4:4 + length])
                    del self.received[:4 + length]
                    return payload
            self._receive_more(deadline)

    def _receive_more(self, deadline):
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise Silence(f"no frame; {len(self.received)} bytes of one") from None
        except (ConnectionResetError, BrokenPipeError):
            raise Closed("reset") from None
        if not data:
            raise Closed(f"{len(self.received)} bytes left: {bytes(self.received[:64]).hex()}")
        self.received += data

    def wait_closed(self, seconds=SECONDS):
        """Waits for the end of the stream; anything that still arrives is an error."""
        try:
            payload = self.receive_frame(seconds)
        except Closed as end:
            assert not self.received, f"closed inside a frame: {end}"
            return
        except Silence:
            raise AssertionError(f"the server did not close within {seconds} s") from None
        raise AssertionError(f"a frame where a close was expected: {payload.hex()}")

    def is_open(self):
        """False when the server has closed; does not wait and does not consume frames."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        if not readable:
            return True
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except ConnectionResetError:
            return False

    def close(self):
        self.socket.close()

    def abort(self):
        """Closes with RST, as a host that forgot the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client(Connection):
    """A connection with a session."""

    def __init__(self, address, timeout=10000, session_id=0, password=NO_PASSWORD, last_zxid=0,
                 read_only=False, receive_buffer=None):
        super().__init__(address, receive_buffer)
        self.send_bytes(connect_request(timeout, session_id, password, last_zxid, read_only))
        try:
            self.connected = decode_connected(self.receive_frame())
        except BaseException:
            self.close()
            raise
        self.session_id = self.connected.session_id
        self.password = self.connected.password
        self.timeout = self.connected.timeout
        self.events = []
        self.last_xid = 0
        self.zxid = 0

    @property
    def refused(self):
        return self.timeout == 0

    # Frames

    def send(self, operation, body=b"", xid=None):
        if xid is None:
            self.last_xid += 1
            xid = self.last_xid
        self.send_bytes(request(xid, operation, body))
        return xid

    def receive(self, seconds=SECONDS):
        """The next frame, as Event or Reply."""
        fields = Decoder(self.receive_frame(seconds))
        xid, zxid, error = fields.int(), fields.long(), fields.int()
        if xid == EVENT_XID:
            event = Event(zxid, fields.int(), fields.int(), fields.string())
            fields.end()
            return event
        if zxid > 0:
            assert zxid >= self.zxid, f"zxid went back from {self.zxid:#x} to {zxid:#x}"
            self.zxid = zxid
        return Reply(xid, zxid, error, fields.rest())

    def reply(self, seconds=SECONDS):
        """The next reply; events in front of it go to `events`."""
        deadline = time.monotonic() + seconds
        while True:
            message = self.receive(max(0.001, deadline - time.monotonic()))
            if isinstance(message, Reply):
                return message
            self.events.append(message)

    def call(self, operation, body=b"", xid=None, seconds=SECONDS):
        xid = self.send(operation, body, xid)
        reply = self.reply(seconds)
        assert reply.xid == xid, f"{operation}: reply to xid {reply.xid}, sent {xid}"
        return reply

    def error(self, operation, body=b""):
        """The error code of the reply."""
        return self.call(operation, body).error

    def ask(self, operation, body=b""):
        """The body of a reply without error."""
        reply = self.call(operation, body)
        if reply.error:
            assert not reply.body, f"a body after error {reply.error}: {reply.body.hex()}"
            raise ZooKeeperError(reply.error, operation)
        return Decoder(reply.body)

    # Operations

    def create(self, path, data=b"", flags=PERSISTENT, acl=OPEN_ACL):
        return self.ask("create", create(path, data, acl, flags)).string()

    def delete(self, path, version=-1):
        self.ask("delete", path_version(path, version)).end()

    def exists(self, path, watch=False):
        """Its Stat, or None."""
        reply = self.call("exists", path_watch(path, watch))
        if reply.error == NONODE:
            return None
        if reply.error:
            raise ZooKeeperError(reply.error, path)
        return Decoder(reply.body).stat()

    def get(self, path, watch=False):
        fields = self.ask("getData", path_watch(path, watch))
        return fields.buffer(), fields.stat()

    def set(self, path, data, version=-1):
        return self.ask("setData", set_data(path, data, version)).stat()

    def children(self, path, watch=False):
        return sorted(self.ask("getChildren", path_watch(path, watch)).strings())

    def multi(self, *operations):
        return decode_multi(self.ask("multi", multi(*operations)))

    def add_auth(self, scheme, data):
        return self.call("auth", auth(scheme, data), xid=AUTH_XID)

    def ping(self, seconds=SECONDS):
        reply = self.call("ping", xid=PING_XID, seconds=seconds)
        assert (reply.error, reply.body) == (0, b"")
        return reply

    def take_events(self):
        """All events that the server had queued when this call began, oldest first."""
        self.ping()
        events, self.events = self.events, []
        return events

    def wait_event(self, seconds=SECONDS):
        """The next event, from those already here or from the socket."""
        if self.events:
            return self.events.pop(0)
        message = self.receive(seconds)
        assert isinstance(message, Event), f"a reply where an event was expected: {message}"
        return message

    def close_session(self):
        reply = self.call("closeSession")
        assert reply.error == 0, reply
        self.wait_closed()
        self.close()
