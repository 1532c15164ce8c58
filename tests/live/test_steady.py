"""What a session that writes all the time notices of leaders that stop, are cut off, are told to go, or are killed.

The limits leave room for a busy host; the figures are printed, and those of a quiet one are in the documentation.
"""

import asyncio
import contextlib
import signal
import threading
import time

import pytest
from ensemble import Ensemble, Node, wait_until
from proxies import Links
from steady import Steady

pytestmark = pytest.mark.live

SILENCE_MS = 1500
TICK_MS = 500
# As the harness sets it.
SYNC_LIMIT = 5
AFTER_S = 0.5


def writers(ensemble: Ensemble, *first: Node) -> list[Steady]:
    """One that begins on each of these."""
    made = []
    for node in first:
        others = [other.client_port for other in ensemble.nodes if other is not node]
        made.append(Steady([node.client_port, *others], f"/s{node.sid}"))
    for writer in made:
        writer.start()
    wait_until("writers that write", lambda: all(len(writer.acked) > 20 for writer in made))
    return made


def wait_writing(since: float, *made: Steady) -> None:
    """Until each has written for a while after that moment."""
    wait_until(
        "all write again",
        lambda: all(
            writer.trouble is not None or bool(writer.acked and writer.acked[-1] > since + AFTER_S) for writer in made
        ),
        30,
    )


def test_a_stopped_leader_is_left_after_the_silence_that_was_asked_for() -> None:
    """And when it goes on, it takes up nothing that is not its business any more."""
    extra = [f"leaderSilenceTimeoutMs={SILENCE_MS}"]
    with Ensemble(["zktw"] * 3, tick_ms=TICK_MS, extra=extra) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        leader = ensemble.wait_leader()
        (writer,) = writers(ensemble, next(node for node in ensemble.nodes if node is not leader))
        stopped = time.monotonic()
        leader.stop()
        wait_writing(stopped + SILENCE_MS / 1000, writer)
        gap_ms = writer.gap_ms(stopped)
        print(f"silence of {SILENCE_MS} ms: no write for {gap_ms:.0f} ms")
        assert SILENCE_MS - TICK_MS < gap_ms < SILENCE_MS + 2000
        leader.cont()
        wait_until("the former leader follows", lambda: leader.mode() == "follower")
        writer.halt()
        assert leader.log_text().count(f"the role ends: no quorum was heard for {SILENCE_MS} ms") == 1


@pytest.mark.parametrize("silence_ms", [0, SILENCE_MS])
def test_a_leader_that_is_cut_off_stops_answering(silence_ms: int) -> None:
    """Within syncLimit, or the shorter silence; reads as well, and the others go on by then."""
    limit_ms = silence_ms or SYNC_LIMIT * TICK_MS
    with Ensemble(["zktw"] * 3, tick_ms=TICK_MS, extra=[f"leaderSilenceTimeoutMs={silence_ms}"]) as ensemble:
        links, loop = Links(ensemble), asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(links.start(), loop).result(10)
        ensemble.start()
        ensemble.wait_serving()
        leader = ensemble.wait_leader()
        others = [node for node in ensemble.nodes if node is not leader]
        (writer,) = writers(ensemble, others[0])
        reader = Steady([leader.client_port], "/read")
        cut = time.monotonic()
        loop.call_soon_threadsafe(links.cut, [leader.sid], [node.sid for node in others])
        answered = cut
        with contextlib.suppress(OSError):
            while time.monotonic() < cut + 2 * limit_ms / 1000:
                reader.read()
                answered = time.monotonic()
                time.sleep(0.01)
        wait_writing(cut + limit_ms / 1000, writer)
        writer.halt()
        asyncio.run_coroutine_threadsafe(links.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        print(
            f"cut off, limit {limit_ms} ms: read until {1000 * (answered - cut):.0f} ms after it, "
            f"others wrote nothing for {writer.gap_ms(cut):.0f} ms"
        )
        assert limit_ms - TICK_MS < 1000 * (answered - cut) < limit_ms + 100
        assert writer.gap_ms(cut) < limit_ms + 2000


def test_a_leader_that_is_told_to_go_costs_a_reconnect() -> None:
    with Ensemble(["zktw"] * 3) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        leader = ensemble.wait_leader()
        made = writers(ensemble, *ensemble.nodes)
        told = time.monotonic()
        assert leader.term() in (0, -signal.SIGTERM)
        wait_writing(told, *made)
        for writer in made:
            writer.halt()
        print(f"SIGTERM of the leader: no write for {[round(writer.gap_ms(told)) for writer in made]} ms")
        assert max(writer.gap_ms(told) for writer in made) < 1500
        # The writer whose server has gone may come to one that has not noticed yet, and is sent on with its clients.
        assert all(writer.attaches <= 3 for writer in made)


def test_a_rolling_restart_costs_a_session_its_reconnects() -> None:
    with Ensemble(["zktw"] * 3) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        (writer,) = writers(ensemble, ensemble[1])
        began = time.monotonic()
        for node in ensemble.nodes:
            assert node.term() in (0, -signal.SIGTERM)
            ensemble.start(node)
            ensemble.wait_serving(node)
        wait_writing(time.monotonic(), writer)
        writer.halt()
        print(f"rolling restart: longest pause {writer.gap_ms(began):.0f} ms, {writer.attaches} connections")
        assert writer.gap_ms(began) < 2000


def test_a_killed_leader_is_replaced_while_sessions_wait() -> None:
    with Ensemble(["zktw"] * 3) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        leader = ensemble.wait_leader()
        made = writers(ensemble, *ensemble.nodes)
        killed = time.monotonic()
        leader.kill()
        wait_writing(killed, *made)
        for writer in made:
            writer.halt()
        print(f"SIGKILL of the leader: no write for {[round(writer.gap_ms(killed)) for writer in made]} ms")
        assert max(writer.gap_ms(killed) for writer in made) < 1500
