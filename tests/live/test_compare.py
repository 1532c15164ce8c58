"""Apache is the oracle: one random workload sent to ours and to Apache in step, every reply and event compared.

ZKTW_OPS and ZKTW_SEED set the length and the seed; compare_run.py does the same by hand and goes on after mismatches.
"""

import os
from collections.abc import Callable

import pytest
from compare_replies import View, same_but_order
from compare_run import TICK_MS, Comparison, Mismatched, servers, tree_of
from ensemble import Ensemble, missing, wait_until
from rawclient import (
    Link,
    Reader,
    Reply,
    boolean,
    buffer,
    connect_body,
    create_body,
    i32,
    i64,
    multi_body,
    reply,
    welcome,
)
from workload import OPEN, Drop, Profile, Request, Workload

ORACLE = "apache39" if missing("apache39") is None else "apache38"
STEPS = int(os.environ.get("ZKTW_OPS", "2600"))
SEED = int(os.environ.get("ZKTW_SEED", "1"))
STEPS_OF_THE_HARNESS = 500
REAP_MS = 500
HOUR_MS = 3_600_000

needs_oracle = pytest.mark.skipif(missing(ORACLE) is not None, reason=str(missing(ORACLE)))
needs_two = pytest.mark.skipif(missing("apache38", "apache39") is not None, reason="two releases of Apache")

pytestmark = pytest.mark.live


class Client:
    """A session that asks one thing at a time."""

    def __init__(self, port: int) -> None:
        self.link = Link(port)
        self.link.send(connect_body(0, None, 60_000))
        self.session = welcome(self.link.read() or b"").session
        self.events: list[tuple[int, int, bytes]] = []

    def ask(self, op: int, body: bytes) -> Reply:
        """One request; its reply."""
        self.link.send(i32(1) + i32(op) + body)
        return self.take()

    def take(self) -> Reply:
        """The next reply; events before it are kept."""
        while True:
            frame = self.link.read()
            assert frame is not None
            answer = reply(frame)
            if answer.xid != -1:
                return answer
            self.keep(answer)

    def keep(self, event: Reply) -> None:
        """An event."""
        kind, state = int.from_bytes(event.body[:4], "big"), int.from_bytes(event.body[4:8], "big")
        self.events.append((kind, state, event.body[12:]))


@needs_oracle
def test_ours_answers_as_apache_does() -> None:
    with servers(ORACLE, "zktw") as (apache, ours):
        comparison = Comparison(apache, ours, SEED)
        comparison.run(STEPS)
    print(comparison.summary())
    assert comparison.requests >= STEPS
    assert not comparison.kinds


@needs_two
def test_two_releases_of_apache_answer_alike() -> None:
    """That a mismatch is ours and not the comparison's."""
    with servers("apache38", "apache39") as (older, newer):
        comparison = Comparison(older, newer, SEED)
        comparison.run(STEPS_OF_THE_HARNESS)
    assert not comparison.kinds


def poison(ttl: int, flags: int) -> bytes:
    return create_body("/poison", b"", OPEN, flags, ttl)


@pytest.mark.parametrize("flags", range(5))
def test_ours_refuses_a_ttl_that_kills_apache(flags: int) -> None:
    with servers("zktw") as (ours,):
        client = Client(ours.client_port)
        assert client.ask(21, poison(-1, flags)).err == -8
        assert client.ask(3, buffer("/poison") + boolean(False)).err == -101
        # Inside a multi it is an ordinary create in Apache, which has no ttl.
        assert client.ask(14, multi_body([(21, poison(-5, flags))])).err in (0, -5)
        ours.kill()
        logs = [path.read_bytes() for path in (ours.data_dir / "version-2").glob("log.*")]
        kinds = [kind for log in logs for kind in transaction_types(log)]
        assert len(kinds) >= 3
        assert 21 not in kinds


def transaction_types(log: bytes) -> list[int]:
    """The types of a log's transactions, and of those inside a multi."""
    found, at = list[int](), 16
    while length := int.from_bytes(log[at + 8 : at + 12], "big"):
        entry = Reader(log[at + 12 : at + 12 + length])
        entry.take(28)
        found.append(entry.i32())
        for _ in range(entry.i32() if found[-1] == 14 else 0):
            found.append(entry.i32())
            entry.buffer()
        at += 12 + length + 1
    return found


@pytest.mark.parametrize(
    ("op", "body"),
    [(20, buffer("/kept")), (20, b"/kept"), (-10, i32(30_000))],
    ids=["deleteContainer 3.9", "deleteContainer 3.8", "createSession"],
)
def test_ours_refuses_what_is_between_servers(op: int, body: bytes) -> None:
    with servers("zktw") as (ours,):
        client = Client(ours.client_port)
        assert client.ask(19, create_body("/kept", b"", OPEN, 4)).err == 0
        assert client.ask(op, body).err == -6
        assert client.link.read() is None
        assert Client(ours.client_port).ask(3, buffer("/kept") + boolean(False)).err == 0


REAPED = ("zktw", ORACLE)


@pytest.mark.parametrize("kind", REAPED)
def test_reapers_take_empty_containers_and_old_nodes(kind: str) -> None:
    if missing(kind) is not None:
        pytest.skip(str(missing(kind)))
    interval = {"znode.container.checkIntervalMs": str(REAP_MS)}
    with Ensemble(
        [kind], standalone=True, extra=["extendedTypesEnabled=true"], properties=interval, tick_ms=TICK_MS
    ) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        client = Client(ensemble[1].client_port)
        for path in ("/used", "/unused", "/full"):
            assert client.ask(19, create_body(path, b"", OPEN, 4)).err == 0
        for path in ("/used/x", "/full/x"):
            assert client.ask(1, create_body(path, b"", OPEN, 0)).err == 0
        for path, ttl in (("/short", 1), ("/long", HOUR_MS), ("/parent", 1)):
            assert client.ask(21, create_body(path, b"", OPEN, 5, ttl)).err == 0
        # A TTL of 1 ms may be over before this comes, if a sweep falls in between.
        child_of_short_lived = client.ask(1, create_body("/parent/x", b"", OPEN, 0)).err
        assert child_of_short_lived in (0, -101)
        assert client.ask(3, buffer("/used") + boolean(True)).err == 0
        assert client.ask(2, buffer("/used/x") + i32(-1)).err == 0

        def reaped() -> bool:
            try:
                left = {path for path in tree_of(ensemble[1].client_port) if "zookeeper" not in path}
            except AssertionError:
                # One went between its name and its data.
                return False
            return left == {"/", "/unused", "/full", "/full/x", "/long"} | (
                {"/parent", "/parent/x"} if child_of_short_lived == 0 else set()
            )

        wait_until("empty containers and old nodes are gone", reaped, 20)
        assert client.ask(3, buffer("/used") + boolean(False)).err == -101
        assert client.events == [(2, 3, b"/used")]
        assert client.ask(3, buffer("/unused") + boolean(False)).err == 0


# The comparison itself: what it must not overlook.


def test_a_time_belongs_to_its_transaction() -> None:
    view = View(began_ms=1_000_000.0)
    assert view.time(0, 0) == "zero"
    assert view.time(7, 1_000_500) == "of its zxid"
    assert view.time(7, 1_000_500) == "of its zxid"
    assert view.time(7, 1_000_501) == "1 ms off its zxid's"
    assert view.time(8, 5).startswith("of another time")


def test_zxids_are_mapped_from_where_they_drift() -> None:
    view = View()
    assert view.zxid(9) == 9
    view.drifted(10, 12)
    view.drifted(20, 21)
    assert [view.zxid(own) for own in (9, 10, 19, 20, 30, -1, 0)] == [9, 12, 21, 21, 31, -1, 0]


def test_only_events_may_come_in_another_order() -> None:
    one, two = ("event", 2, 3, "/a"), ("event", 2, 3, "/b")
    first, second = ("reply", 1), ("reply", 2)
    assert same_but_order([one, two, first], [two, one, first])
    assert not same_but_order([one, first], [two, first])
    assert not same_but_order([first, second], [second, first])
    assert not same_but_order([one, one], [one])


def told_apart(change: Callable[[bytes], bytes]) -> bool:
    """Whether a comparison with a server whose answers are changed on the way finds it."""
    with servers("zktw", "zktw") as (one, other):
        comparison = Comparison(one, other, SEED)
        side = comparison.second
        frame = side.frame

        def changed(link: Link, timeout_s: float = 20.0) -> Reply | str:
            answer = frame(link, timeout_s)
            if isinstance(answer, Reply) and answer.xid > 0:
                return Reply(answer.xid, answer.zxid, answer.err, change(answer.body))
            return answer

        side.frame = changed  # type: ignore[method-assign]
        try:
            comparison.run(STEPS_OF_THE_HARNESS)
        except Mismatched:
            return True
    return False


def test_a_changed_bit_is_found() -> None:
    assert told_apart(lambda body: body[:-1] + bytes([body[-1] ^ 1]) if len(body) >= 68 else body)
    assert not told_apart(lambda body: body)


def test_the_same_seed_gives_the_same_steps() -> None:
    def steps(seed: int) -> list[str]:
        work = Workload(seed, Profile())
        found: list[str] = []
        for step in work.steps(200):
            label = getattr(step, "label", "-")
            if type(step).__name__ == "Open":
                work.opened(label)
            elif isinstance(step, Drop):
                work.closed(label, False)
            found.append(repr(step))
        return found

    assert steps(3) == steps(3)
    assert steps(3) != steps(4)


def test_no_poison_is_ever_in_the_workload() -> None:
    """Over many steps: no createTTL but of its own flags or with a ttl that is refused, no request between servers."""
    work = Workload(5, Profile())
    seen = 0
    for _ in range(20_000):
        request = work._request("s1")
        assert request.op not in (20, -10)
        for body in bodies_of(request):
            flags, ttl = int.from_bytes(body[-12:-8], "big", signed=True), int.from_bytes(body[-8:], "big", signed=True)
            seen += 1
            assert flags in (5, 6) or ttl >= 0 or flags not in range(7)
    assert seen > 100


def bodies_of(request: Request) -> list[bytes]:
    """The bodies of createTTL requests that are whole."""
    if request.op != 21 or " cut to " in request.text or " + " in request.text:
        return []
    assert request.body.endswith(i64(int(request.text.rpartition("ttl ")[2].partition(")")[0])))
    return [request.body]
