"""The throttle of handshakes: a bucket, and a share that is refused by chance."""

from typing import Any

from zktw.pipeline.throttle import ConnectionThrottle


def throttle(chance: float = 0.0, **settings: Any) -> ConnectionThrottle:
    wanted = {
        "tokens": 3,
        "fill_time_ms": 10,
        "fill_count": 1,
        "freeze_time_ms": -1,
        "drop_increase": 0.5,
        "drop_decrease": 0.25,
        "decrease_ratio": 0.5,
    }
    return ConnectionThrottle(lambda: chance, 0.0, **{**wanted, **settings})


def test_without_tokens_there_is_no_limit() -> None:
    none = throttle(tokens=0)
    assert all(none.admits(0.0) for _ in range(1000))


def test_a_bucket_empties_and_fills_with_time() -> None:
    bucket = throttle()
    assert [bucket.admits(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.deficit == 3
    assert [bucket.admits(10.0), bucket.admits(10.0)] == [True, False]
    assert [bucket.admits(1000.0) for _ in range(4)] == [True, True, True, False], "it holds no more than its size"


def test_it_fills_only_after_its_fill_time() -> None:
    bucket = throttle()
    for _ in range(3):
        bucket.admits(0.0)
    assert not bucket.admits(9.0)
    assert bucket.admits(10.0)


def test_the_share_rises_while_it_is_empty_and_falls_while_it_is_not() -> None:
    blue = throttle(freeze_time_ms=100, fill_time_ms=1_000_000)
    for _ in range(4):
        blue.admits(0.0)
    assert blue.drop == 0.0
    blue.admits(101.0)
    assert blue.drop == 0.5
    blue.admits(150.0)
    assert blue.drop == 0.5, "it moves once in a freeze time"
    blue.admits(202.0)
    assert blue.drop == 1.0
    blue.admits(1_000_000.0)
    assert blue.drop == 1.0, "one token of three is not enough"
    blue.admits(4_000_000.0)
    assert blue.drop == 0.75


def test_who_is_refused_by_chance_takes_no_token() -> None:
    blue = throttle(chance=0.4, freeze_time_ms=1, fill_time_ms=1_000_000)
    for _ in range(3):
        blue.admits(0.0)
    blue.admits(2.0)
    before = blue.deficit
    assert not blue.admits(2.5)
    assert blue.deficit == before
