"""zktw log: what is shown of transactions, how damage is told, and copies that end earlier or can be read again."""

import base64
import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from logs import create
from toolrun import DATADIRS, RECORDINGS, Zktw, flipped, log, put

from zktw.storage.files import RealFiles
from zktw.storage.logformat import HEADER, HEADER_BYTES, encode_entry
from zktw.terms.codes import OpCode
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, TxnHeader, encode_txn

ENTRY = len(encode_entry(create(1, b"some")))


@pytest.fixture
def zktw(capsys: pytest.CaptureFixture[str]) -> Zktw:
    return Zktw(capsys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.1"
    path.write_bytes(log(1, 2, 3, 4) + bytes(100))
    return path


def zxids(zktw: Zktw, *arguments: str | Path) -> list[str]:
    return [fields["zxid"] for fields in zktw("log", "dump", "--json", *arguments).objects]


class TestDump:
    def test_a_line_says_when_who_and_what(self, zktw: Zktw, path: Path) -> None:
        told = zktw("log", "dump", path)
        assert told.status == 0
        assert told.err == ""
        assert told.lines[0] == (
            "1970-01-01T00:00:01.001Z zxid 0x1 session 0x1 cxid 0x1 create /n1 bytes=4 acl=open parent-cversion=1"
        )
        assert len(told.lines) == 4

    def test_data_only_where_asked_for(self, zktw: Zktw, path: Path) -> None:
        assert 'data="some"' in zktw("log", "dump", "--data", path).lines[0]
        fields = zktw("log", "dump", "--data", "--json", path).objects[0]
        assert base64.b64decode(fields["data_base64"]) == b"some"
        assert "data_base64" not in zktw("log", "dump", "--json", path).objects[0]

    def test_a_range(self, zktw: Zktw, path: Path) -> None:
        assert zxids(zktw, "--from", "2", "--to", "0x3", path) == ["0x2", "0x3"]

    def test_what_lies_behind_the_range_is_not_judged(self, zktw: Zktw, path: Path) -> None:
        path.write_bytes(flipped(path.read_bytes(), HEADER_BYTES + 2 * ENTRY + 40))
        assert zktw("log", "dump", "--to", "2", path).status == 0
        assert zktw("log", "dump", "--to", "3", path).status == 1

    def test_a_directory_oldest_log_first(self, zktw: Zktw, tmp_path: Path) -> None:
        put(tmp_path, log_2=log(2), log_1=log(1), log_10=log(0x10), log_x=b"none")
        assert zxids(zktw, "--from", "3", "--to", "5", tmp_path) == []
        assert zxids(zktw, tmp_path) == zxids(zktw, tmp_path / "version-2") == ["0x1", "0x2", "0x10"]

    def test_a_path_cannot_draw_on_the_terminal(self, zktw: Zktw, path: Path) -> None:
        txn = CreateTxn('/a b"\x1b[2J\n', None, OPEN_ACL, True, 1)
        path.write_bytes(HEADER + encode_entry(encode_txn(TxnHeader(7, 1, 1, 2**62, OpCode.CREATE), txn, 5)))
        told = zktw("log", "dump", path)
        assert "\x1b" not in told.out
        assert told.lines == [
            f"{2**62}ms zxid 0x1 session 0x7 cxid 0x1 create"
            r' "/a b\"\u001b[2J\n" bytes=null acl=open ephemeral parent-cversion=1 digest=0x5'
        ]
        assert zktw("log", "dump", "--json", path).objects[0]["path"] == txn.path

    def test_a_transaction_that_cannot_be_read_is_named_and_the_rest_shown(self, zktw: Zktw, path: Path) -> None:
        strange = create(2)[:28] + (99).to_bytes(4, "big") + create(2)[32:]
        path.write_bytes(log(1) + encode_entry(strange) + encode_entry(create(3)))
        told = zktw("log", "dump", path)
        assert told.status == 1
        assert f"byte {HEADER_BYTES + ENTRY}: transaction 0x2 cannot be read" in told.err
        assert [line.split()[2] for line in told.lines] == ["0x1", "0x3"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (flipped(log(1, 2, 3), HEADER_BYTES + ENTRY + 40), f"damaged at byte {HEADER_BYTES + ENTRY}: the checksum"),
            (log(1, 2)[:-1], f"its last entry is cut off at byte {HEADER_BYTES + ENTRY}"),
            (log(1) + b"\xff" * 30, f"damaged at byte {HEADER_BYTES + ENTRY}"),
            (b"", "holds no transaction"),
            (b"strange things", "damaged at byte 0"),
        ],
    )
    def test_damage_is_told_with_its_offset(self, zktw: Zktw, path: Path, content: bytes, message: str) -> None:
        path.write_bytes(content)
        told = zktw("log", "dump", path)
        assert told.status == 1
        assert message in told.err
        assert told.err.count("\n") == 1

    def test_damage_in_one_does_not_hide_the_next(self, zktw: Zktw, tmp_path: Path) -> None:
        put(tmp_path, log_1=log(1)[:-1], log_2=log(2))
        told = zktw("log", "dump", tmp_path)
        assert told.status == 1
        assert len(told.lines) == 1

    @pytest.mark.parametrize("name", DATADIRS)
    def test_logs_of_apache(self, zktw: Zktw, name: str) -> None:
        told = zktw("log", "dump", "--json", RECORDINGS / name)
        assert told.status == 0
        last = json.loads((RECORDINGS / name / "expected.json").read_text())["last_zxid"]
        assert [int(fields["zxid"], 16) for fields in told.objects] == list(range(1, last + 1))
        types = {fields["type"] for fields in told.objects}
        assert types >= {"createSession", "create", "createContainer", "createTTL", "setACL", "multi", "error"}
        # Text and JSON tell of the same, a multi with one line more for each of its parts.
        parts = sum(len(fields.get("txns", ())) for fields in told.objects)
        assert len(zktw("log", "dump", RECORDINGS / name).lines) == len(told.objects) + parts


class TestWrongCalls:
    @pytest.mark.parametrize("verb", ["dump", "chop", "repair"])
    def test_a_file_that_is_missing(self, zktw: Zktw, tmp_path: Path, verb: str) -> None:
        rest = {"dump": (), "chop": ("1", "-o", "copy"), "repair": ("-o", "copy")}[verb]
        told = zktw("log", verb, tmp_path / "none", *rest)
        assert (told.status, told.out) == (2, "")
        assert told.err == f"zktw: {tmp_path}/none: No such file or directory\n"

    def test_a_snapshot(self, zktw: Zktw) -> None:
        told = zktw("log", "dump", RECORDINGS / DATADIRS[0] / "version-2" / "snapshot.0")
        assert told.status == 2
        assert "is a snapshot" in told.err

    def test_a_directory_without_logs(self, zktw: Zktw, tmp_path: Path) -> None:
        assert zktw("log", "dump", tmp_path).status == 2

    @pytest.mark.parametrize("zxid", ["x", "-1", "1e", str(2**63)])
    def test_no_zxid(self, zktw: Zktw, path: Path, zxid: str) -> None:
        told = zktw("log", "dump", f"--from={zxid}", path)
        assert told.status == 2
        assert "is no zxid" in told.err

    def test_a_file_that_may_not_be_read(self, zktw: Zktw, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may read everything, so the system's refusal is played."""

        def refuse(files: RealFiles, path: str, count: int = -1, offset: int = 0) -> bytes:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        monkeypatch.setattr(RealFiles, "read", refuse)
        told = zktw("log", "dump", path)
        assert told.status == 1
        assert "Permission denied" in told.err


class TestChop:
    @pytest.mark.parametrize("zxid", [1, 3, 4])
    def test_the_copy_ends_with_the_transaction(self, zktw: Zktw, path: Path, zxid: int) -> None:
        copy = path.with_name("copy")
        assert zktw("log", "chop", path, hex(zxid), "-o", copy).status == 0
        assert copy.read_bytes() == log(*range(1, zxid + 1))
        assert path.read_bytes() == log(1, 2, 3, 4) + bytes(100)

    def test_damage_behind_it_does_not_matter(self, zktw: Zktw, path: Path) -> None:
        path.write_bytes(log(1, 2) + b"\xff" * 50 + log(3)[16:])
        assert zktw("log", "chop", path, "2", "-o", path.with_name("copy")).status == 0

    @pytest.mark.parametrize(
        ("content", "zxid"),
        [(log(1, 2, 4), 3), (log(1, 2), 5), (flipped(log(1, 2, 3), HEADER_BYTES + 40), 2)],
    )
    def test_without_the_transaction_nothing_is_written(
        self, zktw: Zktw, path: Path, content: bytes, zxid: int
    ) -> None:
        path.write_bytes(content)
        told = zktw("log", "chop", path, str(zxid), "-o", path.with_name("copy"))
        assert told.status == 1
        assert told.err
        assert not path.with_name("copy").exists()

    @pytest.mark.parametrize("verb", [["chop", "2"], ["repair"]])
    def test_no_file_is_overwritten(self, zktw: Zktw, path: Path, verb: list[str]) -> None:
        before = path.read_bytes()
        told = zktw("log", verb[0], path, *verb[1:], "-o", path)
        assert told.status == 2
        assert "File exists" in told.err
        assert path.read_bytes() == before


class TestRepair:
    def repaired(self, zktw: Zktw, path: Path, content: bytes) -> tuple[bytes, list[str]]:
        path.write_bytes(content)
        copy = path.with_name("copy")
        told = zktw("log", "repair", path, "-o", copy)
        assert told.status == 0
        assert path.read_bytes() == content
        assert zktw("log", "dump", copy).status == 0
        return copy.read_bytes(), told.lines

    def test_a_log_that_is_whole_loses_its_padding_only(self, zktw: Zktw, path: Path) -> None:
        content, lines = self.repaired(zktw, path, log(1, 2, 3) + bytes(3000))
        assert content == log(1, 2, 3)
        assert lines == [f"{path.with_name('copy')}: 3 transactions, up to 0x3; 0 checksums computed anew"]

    def test_a_wrong_checksum_is_computed_anew_and_told(self, zktw: Zktw, path: Path) -> None:
        content, lines = self.repaired(zktw, path, flipped(log(1, 2, 3), HEADER_BYTES + ENTRY + 5))
        assert content == log(1, 2, 3)
        assert lines[0].startswith(f"byte {HEADER_BYTES + ENTRY}: checksum ")
        assert "transaction 0x2 create /n2 " in lines[0]

    def test_bytes_that_were_changed_are_taken_as_they_are(self, zktw: Zktw, path: Path) -> None:
        changed = log(1, 2, 3).replace(b"/n2", b"/m2")
        content, lines = self.repaired(zktw, path, changed)
        assert content[:HEADER_BYTES] == HEADER
        assert b"/m2" in content
        assert len(lines) == 2

    @pytest.mark.parametrize("at", [8, 9, 10, 11, ENTRY - 1])
    def test_it_ends_before_the_first_entry_that_cannot_be_read(self, zktw: Zktw, path: Path, at: int) -> None:
        content, lines = self.repaired(zktw, path, flipped(log(1, 2, 3, 4), HEADER_BYTES + ENTRY + at))
        assert content == log(1)
        assert lines[0].startswith(f"byte {HEADER_BYTES + ENTRY}: the copy ends here")
        assert "WHOLE TRANSACTIONS FOLLOW" in lines[0]

    @pytest.mark.parametrize("cut", range(1, ENTRY - 4))
    def test_a_tail_that_a_crash_left(self, zktw: Zktw, path: Path, cut: int) -> None:
        content, lines = self.repaired(zktw, path, log(1, 2, 3)[:-cut])
        assert content == log(1, 2)
        assert "no transaction follows it" in lines[0]

    def test_a_zxid_that_goes_back_under_a_wrong_checksum(self, zktw: Zktw, path: Path) -> None:
        content, _ = self.repaired(zktw, path, flipped(log(4, 5, 3), HEADER_BYTES + 2 * ENTRY + 7))
        assert content == log(4, 5)

    def test_a_header_is_written_anew(self, zktw: Zktw, path: Path) -> None:
        content, lines = self.repaired(zktw, path, flipped(log(1, 2), 2))
        assert content == log(1, 2)
        assert "byte 0: the header was" in lines[0]

    @pytest.mark.parametrize("content", [b"", bytes(50), HEADER, b"strange things, and no log at all " * 9])
    def test_what_holds_nothing_is_not_copied(self, zktw: Zktw, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        assert zktw("log", "repair", path, "-o", path.with_name("copy")).status == 1
        assert not path.with_name("copy").exists()


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "log.1"
    path.write_bytes(log(*range(1, 3000)))
    command = [sys.executable, "-m", "zktw.tools.main", "log", "dump", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_progress_is_told_where_asked_for(zktw: Zktw, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(log(*range(1, 200)) + bytes(3 << 20))
    moments = iter(range(0, 10**9, 1000))
    monkeypatch.setattr("zktw.tools.common.wall_ms", lambda: next(moments))
    assert zktw("log", "dump", path).err == ""
    told = zktw("log", "dump", "--progress", path)
    assert told.status == 0
    assert "log.1: 33 % of" in told.err
