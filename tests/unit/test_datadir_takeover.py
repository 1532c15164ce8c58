"""A leader's tree takes the place of our history: a power cut at any point leaves the one or a beginning of the other.

What a server has acknowledged, and its leader has too, is at no moment missing: it may have been counted.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from logs import DATA, create, entries, start, zxids
from memory_files import MemoryFiles, PowerCut
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock as Reactor
from zope.interface import implementer

from zktw.node.clock import Clock
from zktw.storage.datadir import LOG_BASE, NEW_PREFIX, DataDir
from zktw.storage.files import IWorker
from zktw.storage.recovery import Recovered
from zktw.storage.snapshots import Snapshotter
from zktw.storage.txnlog import TxnLog
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.tree.image import Image
from zktw.wire.txn import decode_txn, encode_txn

EPOCH = 0x1_0000_0000
THEIRS = b"theirs"


@implementer(IWorker)
class AtOnce:
    """A thread that has always done what it was given."""

    def start(self) -> None:
        """See IWorker."""

    def stop(self) -> Deferred[None]:
        """See IWorker."""
        return succeed(None)

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See IWorker."""
        return succeed(function(*args))


def make_log(files: MemoryFiles) -> TxnLog:
    return TxnLog(DataDir(files, "/data", "/data"), preallocate_bytes=10_000)


def take(files: MemoryFiles, image: Image) -> None:
    reactor = Reactor()
    told: list[str | None] = []
    snapshotter = Snapshotter(DataDir(files, "/data", "/data"), AtOnce(), Clock(reactor))
    snapshotter.take(image).addCallback(told.append)
    while reactor.getDelayedCalls():
        reactor.advance(0.001)
    assert len(told) == 1


def tree(zxid: int, *numbers: int) -> Database:
    """A leader's: nodes of these transactions, and it is at this zxid."""
    database = Database()
    for number in numbers:
        database.replay(create(number, THEIRS))
    database.last_zxid = zxid
    return database


def take_over(files: MemoryFiles, database: Database) -> None:
    make_log(files).forget_after(database.last_zxid)
    take(files, database.image())


def own_history(files: MemoryFiles) -> None:
    """Transactions 1 to 12; snapshots 0, 4 and 8; logs 1-4, 5-8 and 9-12."""
    files.put(f"{DATA}/myid", b"1")
    datadir = DataDir(files, "/data", "/data")
    start(datadir)
    log = make_log(files)
    for first in (1, 5, 9):
        log.append(entries(first, first + 3))
        log.roll()
        if first < 9:
            take(files, start(datadir).database.image())


def restart(files: MemoryFiles) -> Recovered:
    return start(DataDir(files, "/data", "/data"), epochs=True)


def is_of(recovered: Recovered, database: Database) -> bool:
    return recovered.last_zxid == database.last_zxid and recovered.database.tree.nodes == database.tree.nodes


def every_crash(prepare: Callable[[MemoryFiles], None], act: Callable[[MemoryFiles], None]) -> Iterator[MemoryFiles]:
    """What each power cut during act may leave, and at last what there is after it."""

    def crashed(cut_after: int) -> tuple[MemoryFiles, bool]:
        files = MemoryFiles()
        prepare(files)
        files.lose_power(0, lambda durable, now: durable)
        files.cut_after = len(files.operations) + cut_after
        with suppress(PowerCut):
            act(files)
            return files, True
        return files, False

    cut_after, done = 0, False
    while not done:
        files, done = crashed(cut_after)
        for index in range(len(list(files.losses()))):
            files, _ = crashed(cut_after)
            files.lose_power(*list(files.losses())[index])
            yield files
        cut_after += 1
    assert cut_after > 6


TREES = [
    pytest.param(tree(EPOCH + 5, 1, 2, 3, EPOCH + 1, EPOCH + 5), id="later than all of ours"),
    pytest.param(tree(EPOCH, 1, 2, 3), id="of an epoch's start"),
    pytest.param(tree(10, 1, 2, 9, 10), id="within our last log"),
    pytest.param(tree(8, 1, 2, 8), id="where we have a snapshot"),
    pytest.param(tree(6, 1, 2, 6), id="before our last snapshot"),
    pytest.param(tree(0), id="of nothing"),
]


@pytest.mark.parametrize("theirs", TREES)
def test_ours_or_theirs(theirs: Database) -> None:
    found = set()
    for files in every_crash(own_history, lambda files: take_over(files, theirs)):
        recovered = restart(files)
        if is_of(recovered, theirs):
            found.add("theirs")
        else:
            assert zxids(recovered) == list(range(1, recovered.last_zxid + 1)), "no beginning of ours"
            assert recovered.last_zxid >= min(12, theirs.last_zxid), "what the leader has as well is gone"
            found.add("ours")
            take_over(files, theirs)
            assert is_of(restart(files), theirs)
        assert not [name for name in files.list(DATA) if name.startswith(NEW_PREFIX)]
        following = theirs.last_zxid + 1
        make_log(files).append(entries(following, following + 2))
        again = restart(files)
        assert set(zxids(again)) == {*zxids_of(theirs), following, following + 1, following + 2}
        assert again.last_zxid == following + 2
    assert found == {"ours", "theirs"}


def zxids_of(database: Database) -> set[int]:
    return {int(path[2:], 16) for path in database.tree.nodes if path.startswith("/n")}


@pytest.mark.parametrize("second", [tree(EPOCH - 1, 1, 2, 50, 51), tree(2 * EPOCH, 1, 2, 3, 50)])
def test_one_tree_after_another(second: Database) -> None:
    """An older leader's may be of a later zxid: the start of an epoch. Between both our old history is none."""
    first = tree(EPOCH, 1, 2, 50)

    def prepare(files: MemoryFiles) -> None:
        own_history(files)
        take_over(files, first)

    found = []
    for files in every_crash(prepare, lambda files: take_over(files, second)):
        recovered = restart(files)
        found.append((is_of(recovered, first), is_of(recovered, second)))
    assert set(found) == {(True, False), (False, True)}


def test_what_is_left_of_ours_is_no_way_back() -> None:
    files = MemoryFiles()
    own_history(files)
    theirs = tree(10, 1, 2, 9, 10)
    take_over(files, theirs)
    make_log(files).append(entries(11, 12))
    assert files.read(f"{DATA}/{LOG_BASE}") == b"10"
    content = files.read(f"{DATA}/snapshot.a")
    for damaged in (content[:200] + b"\xee" + content[201:], content[:-1]):
        files.put(f"{DATA}/snapshot.a", damaged)
        with pytest.raises(StorageError) as caught:
            restart(files)
        assert str(caught.value).startswith(
            f"{DATA}/snapshot.a: cannot be read, and nothing older may take its place: by {DATA}/{LOG_BASE} the tree of"
            " 0xa came from a leader: "
        )
    files.put(f"{DATA}/snapshot.a", content)
    for zxid in (9, 8, 4, 0):
        with pytest.raises(StorageError, match="to go back to, and above 0xa, where a tree was taken over"):
            make_log(files).truncate(zxid)
    make_log(files).truncate(10)
    assert is_of(restart(files), theirs)


def test_a_history_that_was_cut_before_its_tree_came_goes_on() -> None:
    """Brought up to date another way after a crash, it passes by the zxid of the tree that never came."""
    files = MemoryFiles()
    own_history(files)
    make_log(files).forget_after(20)
    make_log(files).append(entries(13, 25))
    assert zxids(restart(files)) == list(range(1, 26))
    make_log(files).truncate(15)
    assert zxids(restart(files)) == list(range(1, 16))


def test_an_empty_member_takes_a_tree() -> None:
    theirs = tree(EPOCH + 3, 1, EPOCH + 3)

    def prepare(files: MemoryFiles) -> None:
        files.put(f"{DATA}/myid", b"1")

    for files in every_crash(prepare, lambda files: take_over(files, theirs)):
        # Not before: a start that finds nothing writes a snapshot of nothing.
        if any(name.startswith("snapshot.") for name in files.list(DATA)):
            assert is_of(restart(files), theirs)


def with_digest(payload: bytes, database: Database) -> bytes:
    """The transaction as its leader tells it: with the digest of the tree behind it, which it goes into."""
    database.replay(payload)
    header, txn, _ = decode_txn(payload, 2**31 - 1)
    return encode_txn(header, txn, database.tree.digest)


def test_a_tree_that_was_sent_while_it_changed_adds_up_once_it_is_whole() -> None:
    """An Apache server's: it holds the next two transactions already, which come again behind it."""
    leader = tree(EPOCH + 3, EPOCH + 1, EPOCH + 2, EPOCH + 3)
    following = [with_digest(create(EPOCH + number, THEIRS), leader) for number in (4, 5, 6)]
    fuzzy = tree(EPOCH + 3, *range(EPOCH + 1, EPOCH + 6))
    image = fuzzy.image()
    fuzzy.take_for_fuzzy()
    for payload in following[:2]:
        fuzzy.replay(payload)
    assert fuzzy.digest_mismatches == 0
    fuzzy.be_whole(EPOCH + 5)
    fuzzy.replay(following[2])
    assert (fuzzy.digest_mismatches, fuzzy.tree.digest) == (0, leader.tree.digest)
    # Later it is told of what differs, as ever.
    fuzzy.be_whole(EPOCH + 100)
    other = tree(0)
    fuzzy.replay(with_digest(create(EPOCH + 7), other))
    assert fuzzy.digest_mismatches == 1
    # A restart reads the same tree, and what followed it.
    files = MemoryFiles()
    files.put(f"{DATA}/myid", b"1")
    make_log(files).forget_after(EPOCH + 3)
    take(files, image)
    make_log(files).append([(EPOCH + 4 + number, payload) for number, payload in enumerate(following)])
    recovered = restart(files).database
    assert (recovered.digest_mismatches, recovered.tree.digest) == (0, leader.tree.digest)
