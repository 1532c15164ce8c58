"""What linters can't hold: lengths of files and functions, a line at the top of each file, one importer of a thing."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# Parted, so that this file does not name them.
UNFINISHED = tuple("".join(parts) for parts in (("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")))


def sources(*folders: str) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            yield path.relative_to(CHECKOUT), path.read_text("utf-8")


def test_every_file_says_what_it_is_for() -> None:
    without = [path for path, text in sources("zktw", "twisted", "tests") if not ast.get_docstring(ast.parse(text))]
    assert not without


def test_files_are_not_long() -> None:
    assert not [(path, text.count("\n")) for path, text in sources("zktw") if text.count("\n") > FILE_LINES_MAX]


def test_functions_fit_a_screen() -> None:
    functions = (
        (path, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path, text in sources("zktw")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert not [function for function in functions if function[2] > FUNCTION_LINES_MAX]


def imported(text: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_one_door_to_time_and_chance_and_the_reactor() -> None:
    importers: dict[str, list[str]] = {"time": [], "random": [], "twisted.internet.reactor": []}
    for path, text in sources("zktw", "twisted"):
        for name in importers:
            if name in imported(text):
                importers[name].append(str(path))
    assert importers == {
        "time": ["zktw/node/clock.py"],
        "random": ["zktw/node/clock.py"],
        "twisted.internet.reactor": ["zktw/node/maker.py"],
    }


def test_nothing_is_left_unfinished() -> None:
    marked = [
        (path, number)
        for path, text in sources("zktw", "twisted", "tests")
        for number, line in enumerate(text.splitlines(), start=1)
        if any(word in line.split() or f"{word}:" in line.split() for word in UNFINISHED)
    ]
    assert not marked


def test_no_path_of_somebody_s_machine() -> None:
    """Nothing that is tracked names the place where it was written."""
    tracked = subprocess.run(
        ["git", "grep", "-lIF", "-e", f"{CHECKOUT}/"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert tracked.stdout == ""
