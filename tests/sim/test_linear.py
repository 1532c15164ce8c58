"""The search of linear.py: what one node can have answered, and what it cannot."""

import pytest

from zktw.node.clock import Random
from zktw.sim.linear import ANY, Answer, Kind, Operation, State, is_linearizable, step
from zktw.terms.codes import ErrorCode


def op(
    kind: Kind,
    asked: float,
    answered: float = float("inf"),
    answer: Answer | None = None,
    version: int = ANY,
) -> Operation:
    return Operation(kind, version, asked, answered, answer)


OK = Answer(0)
CREATED = op("create", 0, 1, OK)


@pytest.mark.parametrize(
    ("operations", "possible"),
    [
        ([], True),
        ([CREATED], True),
        ([CREATED, op("create", 2, 3, OK)], False),
        ([CREATED, op("create", 2, 3, Answer(ErrorCode.NODE_EXISTS))], True),
        # Both under way at once: either may be first.
        ([op("set", 0, 5, Answer(ErrorCode.NO_NODE)), op("create", 1, 2, OK)], True),
        ([CREATED, op("set", 2, 3, Answer(ErrorCode.NO_NODE))], False),
        # Versions tell the order.
        ([CREATED, op("set", 2, 9, Answer(0, 2)), op("set", 3, 8, Answer(0, 1))], True),
        ([CREATED, op("set", 2, 3, Answer(0, 2)), op("set", 4, 5, Answer(0, 1))], False),
        ([CREATED, op("set", 2, 3, Answer(0, 1)), op("set", 4, 5, Answer(0, 1))], False),
        # Lost and yet done, at once or later; lost and never done; never done before it was asked.
        ([CREATED, op("set", 2), op("set", 3, 4, Answer(0, 2))], True),
        ([CREATED, op("set", 2), op("set", 3, 4, Answer(0, 1))], True),
        ([CREATED, op("set", 2), op("set", 3, 4, Answer(0, 1)), op("set", 5, 6, Answer(0, 3))], True),
        ([CREATED, op("set", 5), op("set", 3, 4, Answer(0, 2))], False),
        ([CREATED, op("delete", 2), op("create", 3, 4, OK)], True),
        ([CREATED, op("set", 2, 3, Answer(ErrorCode.BAD_VERSION), version=0)], False),
        ([CREATED, op("set", 2, 3, Answer(0, 1), version=0), op("delete", 4, 5, OK, version=1)], True),
    ],
)
def test_what_a_node_can_have_answered(operations: list[Operation], possible: bool) -> None:
    assert is_linearizable(operations) == possible


def history(random: Random, count: int) -> list[Operation]:
    """What a real node answers three clients that ask at random; some answers are lost."""
    state: State = None
    operations = []
    for number in range(count):
        kind: Kind = random.choice(("create", "delete", "set", "set", "set"))
        version = random.choice((ANY, ANY, state or 0, 1))
        asked, answered = number - random.random() * 3, number + random.random() * 3
        operation = op(kind, asked, answered, version=version)
        state, answer = step(state, operation)
        if random.random() < 0.1:
            operations.append(op(kind, asked, version=version))
        else:
            operations.append(op(kind, asked, answered, answer, version))
    return operations


@pytest.mark.parametrize("seed", range(20))
def test_what_a_node_has_answered_is_possible(seed: int) -> None:
    assert is_linearizable(history(Random(seed), 60))


def test_a_changed_answer_is_found_out() -> None:
    found = 0
    for seed in range(40):
        operations = history(Random(seed), 40)
        number = max(n for n, o in enumerate(operations) if o.answer is not None and o.answer.version > 0)
        changed = operations[number]
        assert changed.answer is not None
        wrong = changed.answer._replace(version=changed.answer.version + 40)
        operations[number] = op(changed.kind, changed.asked, changed.answered, wrong, changed.version)
        found += not is_linearizable(operations)
    assert found == 40
