"""Jute: what is written is read, by both readers, however the bytes arrive; lengths are refused before memory is."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.errors import WireError
from zktw.wire.jute import (
    ByteFeed,
    Parsing,
    Reader,
    check_length,
    decode_text,
    encode_text,
    put_bool,
    put_buffer,
    put_int,
    put_long,
    put_string,
)

T = TypeVar("T")
LENGTH_MAX = 1000
INTS = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1)
# Surrogates have no UTF-8.
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=50)
BUFFERS = st.none() | st.binary(max_size=60)
Field = tuple[str, int | bytes | str | None]
FIELDS = st.lists(
    st.tuples(st.just("i32"), INTS)
    | st.tuples(st.just("i64"), LONGS)
    | st.tuples(st.just("buffer"), BUFFERS)
    | st.tuples(st.just("string"), TEXTS),
    max_size=12,
)


def encode(fields: list[Field]) -> bytes:
    """The fields' bytes."""
    put: dict[str, Callable[..., None]] = {
        "i32": put_int,
        "i64": put_long,
        "buffer": put_buffer,
        "string": put_string,
    }
    out = bytearray()
    for kind, value in fields:
        put[kind](out, value)
    return bytes(out)


def parse_all(feed: ByteFeed, fields: list[Field], found: list[Field]) -> Parsing[str]:
    """Read fields of the same kinds."""
    for kind, _ in fields:
        match kind:
            case "i32":
                found.append((kind, (yield from feed.i32())))
            case "i64":
                found.append((kind, (yield from feed.i64())))
            case "buffer":
                found.append((kind, (yield from feed.buffer(LENGTH_MAX))))
            case "string":
                found.append((kind, (yield from feed.string(LENGTH_MAX))))
    return "done"


def run(parsing: Parsing[T], feed: ByteFeed, chunks: list[bytes]) -> T:
    """Feed a parser chunk by chunk; it must end with the last one at the latest, and takes no more than it needs."""
    results: list[T] = []
    for chunk in [b"", *chunks]:
        feed.feed(chunk)
        if not results:
            try:
                next(parsing)
            except StopIteration as done:
                results.append(done.value)
    assert results, "the parser wants more than there is"
    return results[0]


def read_all(reader: Reader, kinds: list[str]) -> list[object]:
    """Fields of these kinds."""
    return [getattr(reader, kind)() for kind in kinds]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces, parted at these places."""
    places = sorted(min(place, len(data)) for place in cuts)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(FIELDS)
def test_a_record_in_memory_is_read_as_written(fields: list[Field]) -> None:
    data = encode(fields)
    reader = Reader(data, LENGTH_MAX)
    assert read_all(reader, [kind for kind, _ in fields]) == [value for _, value in fields]
    assert reader.remaining == 0
    assert reader.offset == len(data)


@given(FIELDS, st.lists(st.integers(0, 300), max_size=8), st.binary(max_size=5))
def test_a_stream_is_read_as_written_however_it_is_cut(fields: list[Field], cuts: list[int], rest: bytes) -> None:
    feed = ByteFeed()
    found: list[Field] = []
    data = encode(fields)
    assert run(parse_all(feed, fields, found), feed, [*cut(data, cuts), rest]) == "done"
    assert found == fields
    # Whatever arrived behind it is left for the next parser.
    assert feed.available == len(rest)
    assert feed.rest() == rest
    assert feed.available == 0


@given(FIELDS)
def test_a_stream_is_read_byte_by_byte(fields: list[Field]) -> None:
    feed = ByteFeed()
    found: list[Field] = []
    data = encode(fields)
    run(parse_all(feed, fields, found), feed, [data[at : at + 1] for at in range(len(data))])
    assert found == fields


@given(FIELDS.filter(bool), st.data())
def test_a_record_that_ends_early_is_malformed(fields: list[Field], data: st.DataObject) -> None:
    whole = encode(fields)
    reader = Reader(whole[: data.draw(st.integers(0, len(whole) - 1))], LENGTH_MAX)
    with pytest.raises(WireError, match="wanted at"):
        read_all(reader, [kind for kind, _ in fields])


@given(st.binary(max_size=40), st.lists(st.sampled_from(["i32", "i64", "flag", "buffer", "string"]), max_size=6))
def test_any_bytes_are_read_or_refused(data: bytes, kinds: list[str]) -> None:
    reader = Reader(data, LENGTH_MAX)
    with suppress(WireError):
        read_all(reader, kinds)
    assert 0 <= reader.offset <= len(data)
    assert reader.remaining == len(data) - reader.offset


@pytest.mark.parametrize("length", [-(2**31), -2, LENGTH_MAX + 1, 2**31 - 1])
@pytest.mark.parametrize("kind", ["buffer", "string"])
def test_an_unreasonable_length_is_refused(length: int, kind: str) -> None:
    out = bytearray()
    put_int(out, length)
    message = rf"^unreasonable length {length} \(at most {LENGTH_MAX}\)$"
    with pytest.raises(WireError, match=message):
        getattr(Reader(bytes(out), LENGTH_MAX), kind)()
    feed = ByteFeed()
    feed.feed(bytes(out))
    parsing: Parsing[object] = feed.buffer(LENGTH_MAX) if kind == "buffer" else feed.string(LENGTH_MAX)
    # From the four bytes of the length alone, whatever follows.
    with pytest.raises(WireError, match=message):
        next(parsing)


@pytest.mark.parametrize("length", [0, LENGTH_MAX])
def test_the_bounds_themselves_are_reasonable(length: int) -> None:
    check_length(length, LENGTH_MAX)
    out = bytearray()
    put_buffer(out, b"x" * length)
    assert Reader(bytes(out), LENGTH_MAX).buffer() == b"x" * length
    feed = ByteFeed()
    assert run(feed.buffer(LENGTH_MAX), feed, [bytes(out)]) == b"x" * length


def test_null_is_a_matter_of_the_reader_not_of_the_length() -> None:
    with pytest.raises(WireError):
        check_length(-1, LENGTH_MAX)
    out = bytearray()
    put_buffer(out, None)
    put_buffer(out, b"")
    assert bytes(out).hex() == "ffffffff00000000"
    reader = Reader(bytes(out), LENGTH_MAX)
    assert [reader.buffer(), reader.buffer()] == [None, b""]


def test_a_flag_is_true_for_any_byte_but_zero() -> None:
    out = bytearray()
    put_bool(out, True)
    put_bool(out, False)
    assert bytes(out) == b"\x01\x00"
    reader = Reader(bytes(out) + b"\x02\xff", LENGTH_MAX)
    assert [reader.flag() for _ in range(4)] == [True, False, True, True]
    with pytest.raises(WireError):
        reader.flag()


def test_text_that_is_no_utf8_is_read_with_replacement() -> None:
    out = bytearray()
    put_buffer(out, b"a\xffb")
    assert Reader(bytes(out), LENGTH_MAX).string() == "a\ufffdb"
    feed = ByteFeed()
    assert run(feed.string(LENGTH_MAX), feed, [bytes(out)]) == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("a", b"a"),
        ("\u00e9\uffff", b"\xc3\xa9\xef\xbf\xbf"),
        # As Java writes them: two surrogates of three bytes each.
        ("\U0001f600", b"\xed\xa0\xbd\xed\xb8\x80"),
    ],
)
def test_text_is_written_as_java_writes_it(text: str, raw: bytes) -> None:
    assert encode_text(text) == raw


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a", "a"),
        (b"\xf0\x9f\x98\x80", "\U0001f600"),
        (b"\xed\xa0\x80", "\ufffd"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\ufffd\ufffd"),
        (b"\xffa", "\ufffda"),
        (b"\xed\xa0", "\ufffd\ufffd"),
    ],
)
def test_text_is_read_as_java_reads_it(raw: bytes, text: str) -> None:
    assert decode_text(raw) == text
