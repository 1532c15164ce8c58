"""FrameSplitter: frames with a length in front, out of a stream."""

from zktw.terms.errors import WireError


class FrameSplitter:
    """Each frame is a signed 32-bit length and that many bytes. What is not whole waits for more."""

    __slots__ = ("_buffer", "_max", "_min", "_wanted")

    def __init__(self, frame_bytes_min: int, frame_bytes_max: int) -> None:
        self._min = frame_bytes_min
        self._max = frame_bytes_max
        self._buffer = bytearray()
        # Bytes that must be there before there is anything to do: joining is put off until then.
        self._wanted = 4

    @property
    def waiting(self) -> int:
        """Bytes held of a frame that is not whole."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Add what arrived; the frames that are whole now. Raises WireError on a length out of bounds."""
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._wanted:
            return []
        frames = []
        start = 0
        while len(buffer) - start >= 4:
            length = int.from_bytes(buffer[start : start + 4], "big", signed=True)
            if not self._min <= length <= self._max:
                raise WireError(f"a frame of {length} bytes ({self._min} to {self._max})")
            if len(buffer) - start - 4 < length:
                self._wanted = 4 + length
                break
            frames.append(bytes(buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        else:
            self._wanted = 4
        del buffer[:start]
        return frames
