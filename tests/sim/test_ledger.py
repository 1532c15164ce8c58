"""The ledger of an ensemble and the platters of its members: what they take, and what they find wrong."""

import pytest
from freshtree import fresh_file

from zktw.node.clock import Random
from zktw.sim.disk import SimDisk
from zktw.sim.ledger import Ledger
from zktw.sim.platter import Platter
from zktw.storage.datadir import VERSION_DIRECTORY, DataDir
from zktw.storage.txnlog import TxnLog
from zktw.terms.codes import OpCode
from zktw.terms.zxid import make_zxid
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, TxnHeader, encode_txn


def payload(epoch: int, counter: int, data: bytes = b"") -> tuple[int, bytes]:
    """The creation of a node that has its zxid in its name."""
    zxid = make_zxid(epoch, counter)
    txn = CreateTxn(f"/n{epoch}-{counter}", data, OPEN_ACL, False, -1)
    return zxid, encode_txn(TxnHeader(1, 1, zxid, 0, OpCode.CREATE), txn, None)


class Kept:
    """A ledger and what it complains of."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.committed: list[int] = []
        self.ledger = Ledger(self.failures.append, on_committed=self.committed.append)

    def propose(self, *counters: int, epoch: int = 1) -> None:
        for counter in counters:
            self.ledger.note(*payload(epoch, counter), "a test")


def test_what_is_learnt_is_in_order_and_in_the_model() -> None:
    kept = Kept()
    kept.propose(1, 2, 3)
    kept.ledger.learn(make_zxid(1, 2), "a test")
    kept.ledger.learn(make_zxid(1, 1), "a test")
    assert kept.failures == []
    assert kept.committed == [make_zxid(1, 1), make_zxid(1, 2)]
    assert kept.ledger.model.at("/n1-2", make_zxid(1, 2)) is not None
    assert kept.ledger.model.at("/n1-2", make_zxid(1, 1)) is None
    assert not kept.ledger.holds(make_zxid(1, 3))
    kept.propose(1, epoch=3)
    kept.ledger.learn(make_zxid(3, 1), "a test")
    # What the leader of the first epoch proposed last has been left out, for ever.
    kept.ledger.learn(make_zxid(1, 3), "a test")
    assert [failure[:3] for failure in kept.failures] == ["PC:"]
    assert kept.ledger.last_before(make_zxid(2, 9)) == make_zxid(1, 2)
    assert kept.ledger.between(make_zxid(1, 1), make_zxid(3, 1)) == [make_zxid(1, 2), make_zxid(3, 1)]


def test_what_nobody_has_proposed_is_not_committed() -> None:
    kept = Kept()
    kept.propose(1, 3)
    kept.ledger.learn(make_zxid(1, 3), "a test")
    assert [failure[:3] for failure in kept.failures] == ["IN:"]
    assert kept.committed == [make_zxid(1, 1)]


def test_a_zxid_has_one_transaction() -> None:
    kept = Kept()
    kept.propose(1)
    kept.propose(1)
    assert kept.failures == []
    kept.ledger.note(*payload(1, 1, b"another"), "a test")
    assert [failure[:3] for failure in kept.failures] == ["AG:"]
    kept.ledger.note(make_zxid(1, 2), payload(1, 1)[1], "a test")
    assert kept.failures[-1].startswith("E1:")


def test_no_number_is_left_out() -> None:
    kept = Kept()
    kept.propose(1, 3)
    kept.ledger.extend([make_zxid(1, 1), make_zxid(1, 3)], "a test")
    assert [failure[:4] for failure in kept.failures] == ["LPO:"]


class Member:
    """A log on a simulated disk, and what is on its platter."""

    def __init__(self) -> None:
        self.disk = SimDisk(Random(1))
        datadir = DataDir(self.disk, "/data", "/data")
        datadir.prepare(True)
        # A cut goes back to a snapshot, and this one is below all that is cut here.
        datadir.files.write(f"/data/{VERSION_DIRECTORY}/snapshot.0", fresh_file())
        self.log = TxnLog(datadir, preallocate_bytes=8192, size_limit_bytes=-1, sync=True)
        self.seen: list[int] = []
        self.platter = Platter(self.disk, "/data/version-2", lambda zxid, payload: self.seen.append(zxid))

    def append(self, *counters: int, epoch: int = 1) -> None:
        self.log.append([payload(epoch, counter) for counter in counters])


def test_a_platter_is_read_as_it_grows_and_once() -> None:
    member = Member()
    member.append(1, 2)
    assert member.platter.look() == ""
    member.append(3)
    member.log.roll()
    member.append(4)
    assert member.platter.look() == ""
    assert member.seen == [make_zxid(1, counter) for counter in (1, 2, 3, 4)]
    assert member.platter.last == make_zxid(1, 4)
    assert member.platter.holds(make_zxid(1, 2))
    assert not member.platter.holds(make_zxid(1, 5))


@pytest.mark.parametrize("rolls", [False, True])
def test_what_is_cut_off_is_there_no_more(rolls: bool) -> None:
    member = Member()
    member.append(1, 2, 3)
    if rolls:
        member.log.roll()
    member.append(4)
    assert member.platter.look() == ""
    member.log.truncate(make_zxid(1, 2))
    assert member.platter.look() == ""
    assert not member.platter.holds(make_zxid(1, 3))
    member.append(1, 2, epoch=2)
    assert member.platter.look() == ""
    assert list(member.platter.zxids) == [payload(1, 1)[0], payload(1, 2)[0], payload(2, 1)[0], payload(2, 2)[0]]


def test_what_is_not_synced_is_not_on_the_platter() -> None:
    member = Member()
    member.append(1)
    member.log = TxnLog(DataDir(member.disk, "/data", "/data"), preallocate_bytes=8192, size_limit_bytes=-1, sync=False)
    member.append(2)
    assert member.platter.look() == ""
    assert list(member.platter.zxids) == [make_zxid(1, 1)]


def test_a_log_that_goes_back_is_found_out() -> None:
    member = Member()
    member.append(1, 2)
    member.append(2)
    assert "0x100000002 behind 0x100000002" in member.platter.look()
