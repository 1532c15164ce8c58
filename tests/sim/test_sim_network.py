"""The simulated network behaves as TCP does to Twisted's protocols, in good times and in bad ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import PORT, Pair
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.protocol import Factory

from zktw.sim.pipe import GIVE_UP_S, WINDOW_BYTES


@given(st.integers(0, 10_000), st.lists(st.binary(min_size=1, max_size=20), max_size=20), st.floats(0, 0.5))
@settings(max_examples=50, deadline=None)
def test_bytes_come_whole_and_in_order_however_many_packets_are_lost(
    seed: int, chunks: list[bytes], loss: float
) -> None:
    pair = Pair(seed)
    near, far = pair.connected()
    pair.network.loss = loss
    for number, chunk in enumerate(chunks):
        near.transport.write(chunk)
        far.transport.writeSequence([chunk, b"!"])
        if number % 3 == 0:
            pair.run(0.001)
    near.transport.loseConnection()
    pair.run(60)
    assert far.received == b"".join(chunks)
    assert isinstance(far.ended, ConnectionDone)
    assert isinstance(near.ended, ConnectionDone)
    assert b"".join(chunk + b"!" for chunk in chunks).startswith(near.received)


def test_nobody_listens() -> None:
    pair = Pair()
    pair.two.port.stopListening()
    made, failed = pair.dial()
    assert not made
    assert [type(error) for error in failed] == [ConnectionRefusedError]


def test_a_closed_port_leaves_its_connections_alone() -> None:
    pair = Pair()
    near, far = pair.connected()
    pair.two.port.stopListening()
    near.transport.write(b"still here")
    pair.run()
    assert far.received == b"still here"
    assert near.ended is None


@pytest.mark.parametrize("way", [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")])
def test_dialling_over_a_cut_link_times_out(way: tuple[str, str]) -> None:
    pair = Pair()
    pair.network.cut(*way)
    made, failed = pair.dial(timeout=2, seconds=1.9)
    assert not made
    assert not failed
    pair.run(0.2)
    assert [type(error) for error in failed] == [TimeoutError]
    pair.network.heal()
    pair.run(5)
    assert not made
    assert all(peer.ended is not None for peer in pair.two.accepted)


def test_a_link_that_heals_in_time_lets_the_dial_through() -> None:
    pair = Pair()
    pair.network.cut("10.0.0.1", "10.0.0.2")
    made, failed = pair.dial(timeout=3)
    assert not made
    pair.network.heal()
    pair.run()
    assert len(made) == 1
    assert not failed


def test_a_one_way_cut_holds_one_direction_back() -> None:
    pair = Pair()
    near, far = pair.connected()
    pair.network.cut("10.0.0.1", "10.0.0.2")
    for word in (b"one ", b"two ", b"three"):
        near.transport.write(word)
        far.transport.write(word)
        pair.run(0.5)
    assert far.received == b""
    assert near.received == b"one two three"
    pair.network.heal()
    pair.run()
    assert far.received == b"one two three"
    assert near.ended is None


def test_a_lasting_cut_ends_the_connection_of_who_has_something_to_say() -> None:
    pair = Pair()
    near, far = pair.connected()
    pair.network.cut("10.0.0.1", "10.0.0.2")
    pair.run(100)
    assert near.ended is None  # an idle connection notices nothing
    near.transport.write(b"hello?")
    pair.run(GIVE_UP_S + 1)
    assert isinstance(near.ended, TimeoutError)
    assert far.received == b""


def test_a_reset_ends_both_ends() -> None:
    pair = Pair()
    near, far = pair.connected()
    near.transport.write(b"lost on the way")
    pair.network.pipes()[0].sever()
    pair.run()
    assert isinstance(near.ended, ConnectionLost)
    assert isinstance(far.ended, ConnectionLost)
    assert not pair.network.pipes()


def test_abort_is_a_reset_for_the_other_end() -> None:
    pair = Pair()
    near, far = pair.connected()
    near.transport.abortConnection()
    near.transport.write(b"too late")
    pair.run()
    assert isinstance(near.ended, ConnectionAborted)
    assert isinstance(far.ended, ConnectionLost)
    assert far.received == b""


def test_a_dead_process_says_nothing_more_and_its_peers_are_told() -> None:
    pair = Pair()
    near, far = pair.connected()
    rung: list[str] = []
    pair.two.reactor.callLater(0.5, rung.append, "never")
    near.transport.write(b"on its way")
    pair.two.process.alive = False
    pair.network.process_died(pair.two.process)
    pair.run()
    assert isinstance(near.ended, ConnectionLost)
    assert far.received == b""
    assert far.ended is None
    assert not rung
    made, failed = pair.dial()
    assert not made
    assert [type(error) for error in failed] == [ConnectionRefusedError]


def test_a_host_without_power_is_silent_until_it_is_back_and_knows_nothing() -> None:
    pair = Pair()
    near, far = pair.connected()
    far.transport.write(b"lost on the way")
    pair.two.process.alive = False
    pair.network.host_died(pair.two.process, pair.two.address)
    pair.run(100)
    assert near.ended is None
    assert near.received == b""
    made, failed = pair.dial(timeout=2, seconds=3)
    assert not made
    assert [type(error) for error in failed] == [TimeoutError]
    pair.network.host_started(pair.two.address)
    made, failed = pair.dial()
    assert [type(error) for error in failed] == [ConnectionRefusedError]
    assert near.ended is None
    near.transport.write(b"still there?")
    pair.run()
    assert isinstance(near.ended, ConnectionLost)
    assert far.received == b""


def test_a_dialler_that_died_on_the_way_makes_no_connection() -> None:
    pair = Pair()
    pair.network.cut("10.0.0.1", "10.0.0.2")
    pair.dial(timeout=10)
    pair.one.process.alive = False
    pair.network.process_died(pair.one.process)
    pair.network.heal()
    pair.run()
    assert not pair.two.accepted


@given(st.integers(0, 10_000), st.lists(st.floats(0, 0.3), max_size=8))
@settings(max_examples=50, deadline=None)
def test_cuts_and_heals_keep_the_order(seed: int, turns: list[float]) -> None:
    pair = Pair(seed)
    near, far = pair.connected()
    sent = b""
    for number, duration in enumerate(turns):
        pair.network.slow("10.0.0.1", "10.0.0.2", duration)
        for _ in range(5):
            near.transport.write(b"%d " % len(sent))
            sent += b"%d " % len(sent)
            pair.run(duration / 10)
        if number % 2:
            pair.network.heal()
        else:
            pair.network.cut("10.0.0.1", "10.0.0.2")
        pair.run(duration)
    pair.network.heal()
    pair.run(10)
    assert far.received == sent
    assert near.ended is None


def test_a_paused_process_is_there_and_silent() -> None:
    pair = Pair()
    near, far = pair.connected()
    rung: list[str] = []
    pair.two.process.paused = True
    pair.two.reactor.callLater(0.5, rung.append, "late")
    near.transport.write(b"one ")
    pair.run(10)
    near.transport.write(b"two")
    made, failed = pair.dial()
    # Its kernel accepts, and keeps what comes.
    assert len(made) == 1
    assert not failed
    assert far.received == b""
    assert not rung
    pair.schedule.resume(pair.two.process)
    pair.run()
    assert far.received == b"one two"
    assert rung == ["late"]
    assert len(pair.two.accepted) == 2


def test_a_port_is_bound_once() -> None:
    pair = Pair()
    factory = Factory()
    factory.noisy = False
    with pytest.raises(CannotListenError):
        pair.two.reactor.listenTCP(PORT, factory)
    # The names of a host are bound as what they mean.
    with pytest.raises(CannotListenError):
        pair.two.reactor.listenTCP(PORT, factory, interface="two.example")
    with pytest.raises(CannotListenError, match="not known"):
        pair.two.reactor.listenTCP(PORT + 1, factory, interface="nowhere.example")
    pair.two.port.stopListening()
    pair.two.reactor.listenTCP(PORT, factory)


def test_reading_can_wait() -> None:
    pair = Pair()
    near, far = pair.connected()
    far.transport.pauseProducing()
    near.transport.write(b"patience")
    near.transport.loseConnection()
    pair.run()
    assert far.received == b""
    assert far.ended is None
    far.transport.resumeProducing()
    pair.run()
    assert far.received == b"patience"
    assert isinstance(far.ended, ConnectionDone)


class _Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


def test_a_producer_is_asked_to_wait_while_much_is_under_way() -> None:
    pair = Pair()
    near, _far = pair.connected()
    producer = _Producer()
    near.transport.registerProducer(producer, True)
    near.transport.write(bytes(WINDOW_BYTES))
    assert producer.told == []
    near.transport.write(b"!")
    assert producer.told == ["pause"]
    pair.run()
    assert producer.told == ["pause", "resume"]


def test_a_producer_waits_for_a_peer_that_does_not_read() -> None:
    pair = Pair()
    near, far = pair.connected()
    producer = _Producer()
    near.transport.registerProducer(producer, True)
    far.transport.pauseProducing()
    near.transport.write(bytes(WINDOW_BYTES + 1))
    pair.run(10)
    assert producer.told == ["pause"]
    far.transport.resumeProducing()
    pair.run()
    assert producer.told == ["pause", "resume"]
    assert len(far.received) == WINDOW_BYTES + 1
