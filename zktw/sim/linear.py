"""Linear: whether the answers that clients have had of one node can be those of one node (Wing and Gong's search).

It knows nothing of zxids: only what was asked and answered, and when. An operation without an answer may have happened
at any time after it was asked, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from zktw.terms.codes import ErrorCode

Kind = Literal["create", "delete", "set"]
# The version of the node; None: it is not there.
State = int | None
ANY = -1


class Answer(NamedTuple):
    """err is 0, or the code of the refusal; version is what a setData's Stat says."""

    err: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """A request to one node and its answer; None where none came. Times in any unit; version ANY: whatever it is."""

    kind: Kind
    version: int
    asked: float
    answered: float
    answer: Answer | None


def step(state: State, operation: Operation) -> tuple[State, Answer]:
    """What a node does with an operation."""
    if operation.kind == "create":
        return (0, Answer(0)) if state is None else (state, Answer(ErrorCode.NODE_EXISTS))
    if state is None:
        return None, Answer(ErrorCode.NO_NODE)
    if operation.version not in (ANY, state):
        return state, Answer(ErrorCode.BAD_VERSION)
    if operation.kind == "delete":
        return None, Answer(0)
    return state + 1, Answer(0, state + 1)


def is_linearizable(operations: Sequence[Operation], state: State = None) -> bool:
    """Whether there is an order of them, true to time, in which each has the answer that it had."""
    ordered = sorted(operations, key=lambda operation: operation.asked)
    needed = frozenset(number for number, operation in enumerate(ordered) if operation.answer is not None)
    # States that were come to before, by the same operations in another order, lead nowhere.
    seen: set[tuple[frozenset[int], State]] = set()
    stack: list[tuple[frozenset[int], State]] = [(frozenset(), state)]
    while stack:
        done, state = stack.pop()
        if needed <= done:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        # The last one that is put there is tried first.
        for number in reversed(_next(ordered, needed, done)):
            operation = ordered[number]
            following, answer = step(state, operation)
            if operation.answer is not None and answer != operation.answer:
                continue
            if operation.answer is None and following == state:
                continue  # as if it had never happened
            stack.append((done | {number}, following))
    return False


def _next(ordered: Sequence[Operation], needed: frozenset[int], done: frozenset[int]) -> list[int]:
    """Those that may come next: none of the others has been answered before they were asked.

    The likeliest first: in the order of their answers, and then what was never answered. Of alike ones among these any
    stands for all, and the one that was asked first may come wherever another may.
    """
    first_answer = min((ordered[number].answered for number in needed - done), default=float("inf"))
    answered: list[int] = []
    lost: dict[tuple[Kind, int], int] = {}
    for number, operation in enumerate(ordered):
        if operation.asked > first_answer:
            break
        if number in done:
            continue
        if operation.answer is not None:
            answered.append(number)
        else:
            lost.setdefault((operation.kind, operation.version), number)
    answered.sort(key=lambda number: ordered[number].answered)
    return [*answered, *lost.values()]
