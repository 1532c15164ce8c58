"""zktw check and zktw purge: each kind of damage is found, and nothing is changed that was not to be."""

from pathlib import Path

import pytest
from logs import create
from toolrun import DATADIRS, Zktw, contents, database, flipped, log, put, recorded, snapshot

from zktw.storage.logformat import HEADER_BYTES, encode_entry

ENTRY = len(encode_entry(create(1, b"some")))
SNAPS = [name for name in DATADIRS if name.endswith("snap")]


@pytest.fixture
def zktw(capsys: pytest.CaptureFixture[str]) -> Zktw:
    return Zktw(capsys)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two snapshots and two logs."""
    put(
        tmp_path,
        snapshot_0=snapshot(database()),
        snapshot_3=snapshot(database(1, 2, 3), database(1, 2, 3).tree.digest),
        log_1=log(1, 2, 3),
        log_4=log(4, 5, 6) + bytes(100),
    )
    return tmp_path


def damage(zktw: Zktw, directory: Path, *options: str) -> list[str]:
    """What check says is wrong; it must say so by its status too, in all its forms, and change nothing."""
    before = contents(directory)
    told = zktw("check", "--json", *options, directory)
    found: list[str] = told.objects[0]["damage"]
    assert told.status == (1 if found else 0)
    text = zktw("check", *options, directory)
    assert text.status == told.status
    assert text.out.count("DAMAGE: ") == len(found)
    assert contents(directory) == before
    return found


def notes(zktw: Zktw, directory: Path) -> list[str]:
    """What check remarks of a directory without damage."""
    assert damage(zktw, directory) == []
    found: list[str] = zktw("check", "--json", directory).objects[0]["notes"]
    assert zktw("check", "--strict", directory).status == (1 if found else 0)
    return found


class TestCheck:
    @pytest.mark.parametrize("name", DATADIRS)
    def test_directories_of_apache_are_whole(self, zktw: Zktw, tmp_path: Path, name: str) -> None:
        assert notes(zktw, recorded(name, tmp_path)) == []
        found = zktw("check", "--json", tmp_path).objects[0]
        assert found["replay"]["digests_compared"] >= 57
        assert found["replay"]["digests_differ"] == 0
        assert found["replay"]["snapshots_compared"] == (4 if name.endswith("snap") else 0)
        assert found["start"]["zxid"] == found["replay"]["last_zxid"] == found["logs"][-1]["last"]

    def test_what_is_counted(self, zktw: Zktw, directory: Path) -> None:
        assert notes(zktw, directory) == []
        found = zktw("check", "--json", directory).objects[0]
        assert [(one["name"], one["nodes"], one["whole"]) for one in found["snapshots"]] == [
            ("snapshot.0", 4, True),
            ("snapshot.3", 7, True),
        ]
        assert [(one["name"], one["txns"], one["first"], one["last"], one["end"]) for one in found["logs"]] == [
            ("log.1", 3, "0x1", "0x3", "clean"),
            ("log.4", 3, "0x4", "0x6", "clean"),
        ]
        assert found["start"]["nodes"] == 10
        assert found["start"]["txns_replayed"] == 3
        assert found["replay"] | {"digests_compared": 0} == found["replay"]
        assert found["replay"]["from"] == "snapshot.0"
        assert found["replay"]["snapshots_compared"] == 1

    def test_logs_of_their_own_directory(self, zktw: Zktw, directory: Path) -> None:
        logs = directory / "logs"
        logs.mkdir()
        (logs / "version-2").mkdir()
        for name in ("log.1", "log.4"):
            (directory / "version-2" / name).rename(logs / "version-2" / name)
        told = zktw("check", "--json", directory, logs)
        assert told.status == 0
        assert told.objects[0]["start"]["zxid"] == "0x6"
        assert "are dataDir and dataLogDir swapped?" in zktw("check", logs, directory).out

    @pytest.mark.parametrize(
        ("content", "note"),
        [
            (log(4, 5)[:-1], "an entry is cut off"),
            (log(4) + b"\xff" * 20, "a start takes it away"),
            (b"", "it has no header"),
            (flipped(log(4, 5), HEADER_BYTES + ENTRY + 40), "the checksum of an entry is"),
        ],
    )
    def test_what_a_crash_leaves_is_a_note(self, zktw: Zktw, directory: Path, content: bytes, note: str) -> None:
        put(directory, log_4=content)
        assert any(note in text for text in notes(zktw, directory))

    def test_an_unfinished_snapshot_is_a_note(self, zktw: Zktw, directory: Path) -> None:
        put(directory, snapshot_5=snapshot(database(*range(1, 6)))[:-30])
        assert "was not written to its end" in notes(zktw, directory)[0]

    def test_numbers_left_out_are_a_note(self, zktw: Zktw, directory: Path) -> None:
        put(directory, log_4=log(4, 6))
        assert any("0x6 follows 0x4" in text for text in notes(zktw, directory))

    def test_replay_begins_behind_what_is_missing(self, zktw: Zktw, directory: Path) -> None:
        put(directory, log_1=log(1), snapshot_5=snapshot(database(*range(1, 6)), database(*range(1, 6)).tree.digest))
        assert notes(zktw, directory)
        assert zktw("check", "--json", directory).objects[0]["replay"]["from"] == "snapshot.5"

    def test_damage_before_the_end_of_a_log(self, zktw: Zktw, directory: Path) -> None:
        put(directory, log_4=flipped(log(4, 5, 6), HEADER_BYTES + ENTRY + 40))
        found = damage(zktw, directory)
        assert any(f"log.4: damaged at byte {HEADER_BYTES + ENTRY}" in text for text in found)
        assert any("a start is refused" in text for text in found)

    def test_damage_in_a_log_that_a_start_does_not_read(self, zktw: Zktw, directory: Path) -> None:
        put(directory, log_1=flipped(log(1, 2, 3), HEADER_BYTES + 40), log_3=log(3))
        found = damage(zktw, directory)
        assert any("log.1: damaged at byte 16" in text for text in found)
        assert not any("a start is refused" in text for text in found)
        assert damage(zktw, directory, "--quick") == []

    def test_a_damaged_snapshot(self, zktw: Zktw, directory: Path) -> None:
        content = snapshot(database(1, 2, 3))
        put(directory, snapshot_3=flipped(content, len(content) // 2))
        found = damage(zktw, directory)
        assert any("snapshot.3: damaged" in text for text in found)
        assert zktw("check", "--json", directory).objects[0]["start"]["txns_replayed"] == 6

    def test_a_snapshot_that_is_not_what_the_log_leads_to(self, zktw: Zktw, directory: Path) -> None:
        other = database(1, 2, 3, 9)
        other.last_zxid = 3
        put(directory, snapshot_3=snapshot(other, other.tree.digest))
        assert any("replay of the log gives" in text for text in damage(zktw, directory))

    def test_a_snapshot_whose_digest_is_wrong(self, zktw: Zktw, directory: Path) -> None:
        put(directory, snapshot_3=snapshot(database(1, 2, 3), 5))
        assert any("its tree's digest is" in text for text in damage(zktw, directory))

    def test_transactions_whose_maker_had_another_tree(self, zktw: Zktw, tmp_path: Path) -> None:
        recorded("datadir-apache38-stop", tmp_path)
        path = tmp_path / "version-2" / "log.1"
        content = bytearray(path.read_bytes())
        # The data of one create, and the checksum over it.
        at = content.index(b"root of it")
        entry = int(zktw("log", "dump", "--json", "--from", "4", path).objects[0]["offset"])
        assert entry < at
        content[at : at + 4] = b"toor"
        damaged, mended = path.with_name("damaged"), path.with_name("mended")
        damaged.write_bytes(content)
        assert zktw("log", "repair", damaged, "-o", mended).status == 0
        damaged.unlink()
        mended.rename(path)
        found = damage(zktw, tmp_path)
        assert any(f"log.1 at byte {entry}: after 0x4 the tree's digest is" in text for text in found)
        assert any("transactions led to another tree" in text for text in damage(zktw, tmp_path, "--quick"))

    def test_a_log_whose_snapshot_is_missing(self, zktw: Zktw, directory: Path) -> None:
        for name in ("snapshot.0", "snapshot.3"):
            (directory / "version-2" / name).unlink()
        assert any("no snapshot is whole" in text for text in damage(zktw, directory))

    def test_a_log_that_is_not_what_its_name_says(self, zktw: Zktw, directory: Path) -> None:
        put(directory, log_4=log(5, 6))
        assert any("not with the number in its name" in text for text in damage(zktw, directory))

    def test_transactions_out_of_order(self, zktw: Zktw, directory: Path) -> None:
        put(directory, log_4=log(4, 6, 5))
        assert any("0x5 comes after 0x6" in text for text in damage(zktw, directory))

    @pytest.mark.parametrize(
        ("current", "accepted", "whole"), [(b"1", b"2", True), (b"2", b"1", False), (b"x", b"1", False)]
    )
    def test_epochs(self, zktw: Zktw, directory: Path, current: bytes, accepted: bytes, whole: bool) -> None:
        put(directory, currentEpoch=current, acceptedEpoch=accepted)
        assert (damage(zktw, directory) == []) == whole
        if whole:
            start = zktw("check", "--json", directory).objects[0]["start"]
            assert (start["current_epoch"], start["accepted_epoch"]) == (1, 2)

    def test_an_empty_directory_is_where_a_server_begins(self, zktw: Zktw, tmp_path: Path) -> None:
        put(tmp_path)
        assert notes(zktw, tmp_path) == []
        assert zktw("check", tmp_path / "version-2").status == 0

    def test_no_data_directory(self, zktw: Zktw, tmp_path: Path) -> None:
        told = zktw("check", tmp_path)
        assert (told.status, told.out) == (2, "")
        assert f"{tmp_path}/version-2: No such file or directory" in told.err


class TestPurge:
    @pytest.mark.parametrize("name", SNAPS)
    def test_the_newest_stay_and_the_logs_behind_them(self, zktw: Zktw, tmp_path: Path, name: str) -> None:
        recorded(name, tmp_path)
        before = contents(tmp_path)
        dry = zktw("purge", "--dry-run", tmp_path)
        assert contents(tmp_path) == before
        told = zktw("purge", tmp_path)
        assert told.status == 0
        gone = before.keys() - contents(tmp_path).keys()
        snapshots = sorted(
            (path for path in before if "snapshot" in path), key=lambda path: int(path.split(".")[1], 16)
        )
        assert gone == {*snapshots[:2], "version-2/log.1"}
        assert told.out == dry.out.replace("would remove", "removed").replace("would go", "removed")
        assert damage(zktw, tmp_path) == []
        assert zktw("check", "--json", tmp_path).objects[0]["start"]["zxid"] == "0x8b"
        assert zktw("purge", tmp_path).lines == ["0 files removed, 0 bytes"]

    def test_more_may_be_kept(self, zktw: Zktw, tmp_path: Path) -> None:
        recorded(SNAPS[0], tmp_path)
        gone = zktw("purge", "--json", "--keep", "4", tmp_path).objects
        assert [(Path(one["path"]).name, one["removed"]) for one in gone] == [("snapshot.0", True)]

    def test_a_snapshot_that_is_not_whole_does_not_count(self, zktw: Zktw, tmp_path: Path) -> None:
        recorded(SNAPS[0], tmp_path)
        newest = tmp_path / "version-2" / "snapshot.88"
        newest.write_bytes(newest.read_bytes()[:-1])
        gone = zktw("purge", "--json", tmp_path).objects
        assert [Path(one["path"]).name for one in gone] == ["snapshot.0"]
        assert newest.exists()

    @pytest.mark.parametrize("keep", ["2", "0", "-3", "x"])
    def test_less_than_three_are_not_enough(self, zktw: Zktw, tmp_path: Path, keep: str) -> None:
        recorded(SNAPS[0], tmp_path)
        before = contents(tmp_path)
        assert zktw("purge", f"--keep={keep}", tmp_path).status == 2
        assert contents(tmp_path) == before

    def test_no_data_directory(self, zktw: Zktw, tmp_path: Path) -> None:
        assert zktw("purge", tmp_path).status == 2


@pytest.mark.parametrize(
    "tool",
    [
        [],
        ["log"],
        ["log", "dump"],
        ["log", "chop"],
        ["log", "repair"],
        ["snapshot"],
        ["snapshot", "dump"],
        ["snapshot", "summary"],
        ["snapshot", "diff"],
        ["purge"],
        ["check"],
    ],
)
def test_each_has_a_help(zktw: Zktw, tool: list[str]) -> None:
    told = zktw(*tool, "--help")
    assert told.status == 0
    assert told.out.startswith(f"usage: {' '.join(['zktw', *tool])} ")
