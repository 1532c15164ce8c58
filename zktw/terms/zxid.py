"""A zxid: the epoch of a leader and a counter within it, in one 64-bit number.

A counter of 0 is never a transaction: it stands for the start of an epoch (NEWLEADER).
"""

COUNTER_MAX = 0xFFFF_FFFF


def make_zxid(epoch: int, counter: int) -> int:
    """The signed 64-bit zxid of this epoch and counter."""
    assert 0 <= counter <= COUNTER_MAX
    return (epoch << 32) | counter


def epoch_of(zxid: int) -> int:
    """The epoch half; arithmetic shift, so that -1 (an empty database) has epoch -1."""
    return zxid >> 32


def counter_of(zxid: int) -> int:
    """The counter half."""
    return zxid & COUNTER_MAX


def format_zxid(zxid: int) -> str:
    """As Apache prints it: 0x and lower-case hex of the 64-bit pattern."""
    return f"0x{zxid & 0xFFFF_FFFF_FFFF_FFFF:x}"
