"""The journal finds what it is there to find: each kind of damage to a tree is an error."""
import pytest

import wire
from ensemble import Node
from journal import Entry, Lost, Writer

STAT = wire.Stat(*[0] * 11)


def node(data, czxid=0, version=0):
    return Node(data, [], STAT._replace(czxid=czxid, version=version))


@pytest.fixture
def writer():
    """Creates, a sequential create, sets and a delete, some of them without an answer."""
    writer = Writer("w", [("127.0.0.1", 0)])
    writer.entries = [
        Entry("create", "/w/a", b"a", "acknowledged", zxid=10),
        Entry("set", "/w", b"1", "acknowledged", zxid=11, version=1),
        Entry("create", "/w/b", b"b", "ambiguous"),
        Entry("set", "/w", b"2", "ambiguous"),
        Entry("sequential", "/w/s-0000000001", b"s", "acknowledged", zxid=14),
        Entry("set", "/w", b"3", "acknowledged", zxid=15, version=3),
        Entry("create", "/w/c", b"c", "acknowledged", zxid=16),
        Entry("delete", "/w/c", b"", "acknowledged", zxid=17),
        Entry("create", "/w/d", b"d", "refused"),
        Entry("set", "/w", b"4", "ambiguous")]
    return writer


@pytest.fixture
def tree():
    return {"/w": node(b"3", version=3), "/w/a": node(b"a", 10), "/w/b": node(b"b", 12),
            "/w/s-0000000001": node(b"s", 14)}


def test_what_was_acknowledged_is_there(writer, tree):
    writer.check(tree)


def test_what_was_ambiguous_may_be_there_or_not(writer, tree):
    del tree["/w/b"]
    writer.check(tree)
    tree["/w"] = node(b"4", version=4)
    writer.check(tree)


@pytest.mark.parametrize("damage", [
    {"/w": None},
    {"/w/a": None},
    {"/w/s-0000000001": None},
    {"/w/a": node(b"a", 11)},
    {"/w/a": node(b"other", 10)},
    {"/w/b": node(b"b", 15)},
    {"/w/b": node(b"b", 10)},
    {"/w/c": node(b"c", 16)},
    {"/w/d": node(b"d", 18)},
    {"/w/e": node(b"e", 18)},
    {"/w/s-0000000002": node(b"s", 15)},
    {"/w": node(b"2", version=3)},
    {"/w": node(b"3", version=2)},
    {"/w": node(b"3", version=4)},
    {"/w": node(b"4", version=3)},
    {"/w": node(b"4", version=5)}], ids=str)
def test_damage(writer, tree, damage):
    tree.update(damage)
    with pytest.raises(Lost):
        writer.check({path: found for path, found in tree.items() if found is not None})


@pytest.mark.parametrize("index, change", [(5, {"version": 5}), (5, {"version": 1}),
                                           (4, {"zxid": 16}), (4, {"zxid": 11})])
def test_answers_that_cannot_be(writer, tree, index, change):
    for name, value in change.items():
        setattr(writer.entries[index], name, value)
    with pytest.raises(Lost):
        writer.check(tree)
