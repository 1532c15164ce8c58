"""Driver and Alarm: effects in their order, never nested; one alarm, where the core wants it."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock as TwistedClock

from zktw.node.clock import Clock
from zktw.node.driver import Driver
from zktw.wire.effects import CloseLearner, Effect


def effect(number: int) -> CloseLearner:
    return CloseLearner(number, "")


class Core:
    """Wakes at its deadline, and then wants nothing more."""

    def __init__(self) -> None:
        self.deadline_ms: float | None = None
        self.rang: list[float] = []

    def on_deadline(self, now_ms: float) -> list[Effect]:
        self.rang.append(now_ms)
        self.deadline_ms = None
        return [effect(99)]


def made(carry_out: Callable[[Effect], None]) -> tuple[Driver, Core, Any]:
    reactor = TwistedClock()
    core = Core()
    return Driver(Clock(reactor), core, carry_out), core, reactor


def test_effects_are_carried_out_in_order_and_never_nested() -> None:
    done: list[str] = []

    def carry_out(one: Effect) -> None:
        assert isinstance(one, CloseLearner)
        done.append(f"begin {one.connection}")
        if one.connection == 1:
            driver.do([effect(3)])
        done.append(f"end {one.connection}")

    driver, _, _ = made(carry_out)
    driver.do([effect(1), effect(2)])
    assert done == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


def test_after_stop_nothing_is_carried_out() -> None:
    done: list[Effect] = []

    def carry_out(one: Effect) -> None:
        done.append(one)
        driver.stop()

    driver, core, reactor = made(carry_out)
    core.deadline_ms = 50
    driver.do([effect(1), effect(2)])
    driver.do([effect(3)])
    reactor.advance(1)
    assert done == [effect(1)]
    assert core.rang == []
    assert reactor.getDelayedCalls() == []


def test_the_alarm_follows_the_core_s_deadline() -> None:
    done: list[Effect] = []
    driver, core, reactor = made(done.append)
    core.deadline_ms = 50
    driver.do([])
    core.deadline_ms = 20
    driver.do([])
    assert len(reactor.getDelayedCalls()) == 1
    reactor.advance(0.019)
    assert core.rang == []
    reactor.advance(0.001)
    assert len(core.rang) == 1
    assert core.rang[0] >= 20
    assert done == [effect(99)]
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize("step_s", [0.1, 0.3, 1 / 3, 0.7, 1e-3])
@pytest.mark.parametrize("deadline_ms", [1000 / 3, 100.1, 700 / 3, 33.3])
def test_a_core_is_never_woken_before_its_deadline(step_s: float, deadline_ms: float) -> None:
    """Seconds and milliseconds are rounded differently: a core that is woken early wants the same deadline again."""
    driver, core, reactor = made(lambda _: None)
    for number in range(50):
        reactor.advance(step_s)
        wanted = core.deadline_ms = reactor.seconds() * 1000 + deadline_ms
        driver.do([])
        (call,) = reactor.getDelayedCalls()
        reactor.advance(call.getTime() - reactor.seconds())
        reactor.advance(1e-9)
        assert core.rang[number:][0] >= wanted


def test_an_alarm_that_has_rung_may_be_set_to_the_same_time_again() -> None:
    reactor = TwistedClock()
    rang: list[float] = []
    alarm = Clock(reactor).alarm(lambda: rang.append(reactor.seconds()))
    for _ in range(2):
        alarm.set(50)
        reactor.advance(0.1)
    assert len(rang) == 2
