"""Reads ZooKeeper's log and snapshot files as far as tests must know where something is."""
import gzip
import os
import pathlib
import re
import struct
import zlib
from typing import NamedTuple

LOG_HEADER_BYTES = 16
RECORD_HEADER_BYTES = 12  # checksum, length
SEAL = struct.Struct(">QiB")  # Adler-32, length of "/", "/"


class Record(NamedTuple):
    """A transaction in a log: its checksum begins at `offset`, `end` is behind its EOR byte."""
    offset: int
    end: int
    zxid: int
    type: int

    @property
    def body(self):
        return self.offset + RECORD_HEADER_BYTES


def version_dir(data_dir):
    return pathlib.Path(data_dir) / "version-2"


def files(data_dir, prefix):
    """The `log` or `snapshot` files, oldest first."""
    found = []
    for path in version_dir(data_dir).iterdir():
        name = re.fullmatch(rf"{prefix}\.([0-9a-f]+)(\.gz|\.snappy)?", path.name)
        if name:
            found.append((int(name.group(1), 16), path))
    return [path for _, path in sorted(found)]


def zxid_of(path):
    """The zxid in the name of a log or snapshot."""
    return int(path.name.split(".")[1], 16)


def records(log):
    """The whole records of a log, up to the first that is not."""
    data = pathlib.Path(log).read_bytes()
    assert data[:8] == b"ZKLG\0\0\0\2", f"{log}: not a log"
    found, offset = [], LOG_HEADER_BYTES
    while offset + RECORD_HEADER_BYTES <= len(data):
        checksum, length = struct.unpack_from(">Qi", data, offset)
        body = data[offset + RECORD_HEADER_BYTES:offset + RECORD_HEADER_BYTES + length]
        end = offset + RECORD_HEADER_BYTES + length + 1
        if length <= 0 or end > len(data) or data[end - 1] != 0x42:
            break
        assert zlib.adler32(body) == checksum, f"{log}: checksum at {offset}"
        _, _, zxid, _, kind = struct.unpack_from(">qiqqi", body)
        found.append(Record(offset, end, zxid, kind))
        offset = end
    return found


def last_zxid(data_dir):
    """The greatest zxid in the logs and in the names of the snapshots."""
    zxids = [zxid_of(path) for path in files(data_dir, "snapshot")]
    zxids += [record.zxid for log in files(data_dir, "log") if os.path.getsize(log)
              for record in records(log)]
    return max(zxids)


def snapshot_bytes(path):
    data = pathlib.Path(path).read_bytes()
    return gzip.decompress(data) if path.name.endswith(".gz") else data


def snapshot_sections(path):
    """(digest as (zxid, version, value) or None, last processed zxid or None) behind the tree.

    The sections are told apart by their length, from the end of the file; seals are verified.
    """
    data = snapshot_bytes(path)
    for digest_bytes, zxid_bytes in ((20, 8), (20, 0), (0, 8), (0, 0)):
        position = len(data) - sum(size + SEAL.size for size in (digest_bytes, zxid_bytes) if size)
        if position < SEAL.size or not sealed(data, position):
            continue
        digest = zxid = None
        if digest_bytes:
            digest = struct.unpack_from(">qiQ", data, position)
            position += digest_bytes + SEAL.size
            if not sealed(data, position):
                continue
        if zxid_bytes:
            [zxid] = struct.unpack_from(">q", data, position)
            position += zxid_bytes + SEAL.size
            if not sealed(data, position):
                continue
        return digest, zxid
    raise AssertionError(f"{path}: no valid seal")


def sealed(data, end):
    """True if a right seal ends at `end`."""
    checksum, length, slash = SEAL.unpack_from(data, end - SEAL.size)
    return (length, slash) == (1, 0x2F) and checksum == zlib.adler32(data[:end - SEAL.size])
