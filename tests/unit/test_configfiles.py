"""ConfigFiles: whatever the moment at which the power goes, the server can be started from what is there."""

from collections.abc import Callable, Iterator

import pytest
from heldworker import HeldWorker
from memory_files import MemoryFiles, PowerCut
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from zktw.config.load import load_config
from zktw.node.configfiles import ConfigFiles
from zktw.quorum.ensemble import Ensemble

PATH = "/etc/zoo.cfg"
MEMBERS = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant"
STATIC = f"# ours\ntickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir=/data\nclientPort=2181\n{MEMBERS}\n"
NEW = Ensemble.from_text(
    "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2:participant\nserver.4=d:1:2:participant\nversion=100000007"
)


def fresh() -> tuple[MemoryFiles, HeldWorker, ConfigFiles]:
    """A server's files as an operator has written them."""
    files, worker = MemoryFiles(), HeldWorker(OSError)
    files.put(PATH, STATIC.encode())
    files.put("/data/myid", b"1\n")
    return files, worker, ConfigFiles(files, worker, PATH)


def loaded(files: MemoryFiles) -> Ensemble:
    """The members that a server would start with."""
    ensemble = load_config(PATH, lambda path: files.read(path).decode(), {}).ensemble
    assert ensemble is not None
    return ensemble


def whole_change(files: MemoryFiles) -> Iterator[None]:
    """A server's first start, a proposal, its commit: a step of the worker at a time."""
    worker = HeldWorker(OSError)
    config_files = ConfigFiles(files, worker, PATH)
    config_files.back_up()
    config_files.propose(NEW)
    config_files.commit(NEW, without_client_port=True)
    while worker.held:
        worker.let()
        yield


def test_what_is_left_in_the_end() -> None:
    files, _, _ = fresh()
    for _ in whole_change(files):
        pass
    assert loaded(files) == NEW
    assert files.read(f"{PATH}.bak").decode() == STATIC
    assert files.list("/etc") == ["zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.100000007"]
    static = files.read(PATH).decode()
    assert static.startswith("# ours\n")
    assert "clientPort" not in static


def test_what_is_proposed_has_its_version_in_it() -> None:
    files, worker, config_files = fresh()
    config_files.propose(NEW)
    worker.let()
    assert files.read(f"{PATH}.dynamic.next").decode() == NEW.text()
    assert loaded(files).version == 0


def losses_after(cut_after: int) -> list[tuple[int, Callable[[bytes, bytes], bytes]]]:
    """What may be left if the power goes before this operation."""
    files, _, _ = fresh()
    _run_until_cut(files, cut_after)
    return list(files.losses())


def _run_until_cut(files: MemoryFiles, cut_after: int) -> bool:
    files.cut_after = cut_after
    try:
        for _ in whole_change(files):
            pass
    except PowerCut:
        return True
    return False


def test_a_power_cut_leaves_the_old_members_or_the_new_ones() -> None:
    static = Ensemble.from_text(MEMBERS)
    seen = set()
    cut_after = 0
    while True:
        losses = losses_after(cut_after)
        for kept, what_is_left in losses:
            files, _, _ = fresh()
            cut = _run_until_cut(files, cut_after)
            files.lose_power(kept, what_is_left)
            found = loaded(files)
            assert found in (static, NEW), (cut_after, kept)
            seen.add(found.version)
        if not cut:
            break
        cut_after += 1
    assert seen == {0, NEW.version}
    assert cut_after > 10


@pytest.mark.parametrize("step", ["propose", "back_up", "commit"])
def test_a_file_that_cannot_be_written_is_told_of(step: str) -> None:
    files, worker, config_files = fresh()
    del files.names[PATH]
    if step == "propose":
        del files.names["/etc"]
        config_files.propose(NEW)
    elif step == "back_up":
        config_files.back_up()
    else:
        config_files.commit(NEW, without_client_port=False)
    lines: list[str] = []

    @implementer(ILogObserver)
    class Observer:
        """Keeps lines."""

        def __call__(self, event: LogEvent) -> None:
            if event["log_level"] >= LogLevel.error:
                lines.append(formatEvent(event))

    note = Observer()
    globalLogPublisher.addObserver(note)
    try:
        worker.let()
    finally:
        globalLogPublisher.removeObserver(note)
    assert len(lines) == 1
    assert lines[0].startswith("a configuration file cannot be written: ")
