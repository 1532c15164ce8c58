"""OwnerRules: what an owner means, and which one a time to live becomes, with and without the rules of 3.5.3."""

import pytest

from zktw.tree.owner import CONTAINER_OWNER, TTL_MAX_MS, NodeKind, OwnerRules

OF_353 = 5000 - (1 << 63)
OF_NOW = 5000 - (1 << 56)


@pytest.mark.parametrize(
    ("owner", "plain", "extended", "emulating"),
    [
        (0, NodeKind.PERSISTENT, NodeKind.PERSISTENT, NodeKind.PERSISTENT),
        (7, NodeKind.EPHEMERAL, NodeKind.EPHEMERAL, NodeKind.EPHEMERAL),
        (CONTAINER_OWNER, NodeKind.CONTAINER, NodeKind.CONTAINER, NodeKind.CONTAINER),
        (OF_NOW, NodeKind.EPHEMERAL, NodeKind.TTL, NodeKind.TTL),
        (OF_353, NodeKind.EPHEMERAL, NodeKind.EPHEMERAL, NodeKind.TTL),
    ],
)
def test_kinds(owner: int, plain: NodeKind, extended: NodeKind, emulating: NodeKind) -> None:
    assert OwnerRules(extended=False).kind(owner) is plain
    assert OwnerRules(extended=True).kind(owner) is extended
    assert OwnerRules(extended=True, emulate_353=True).kind(owner) is emulating
    assert OwnerRules(extended=False, emulate_353=True).kind(owner) is plain


@pytest.mark.parametrize("emulate", [False, True])
@pytest.mark.parametrize("ttl", [1, 5000, TTL_MAX_MS])
def test_a_time_to_live_is_written_as_all_releases_since_write_it(ttl: int, emulate: bool) -> None:
    """Apache 3.9 with emulate353TTLNodes=true: 0xff in front, as without; digests tell."""
    rules = OwnerRules(extended=True, emulate_353=emulate)
    owner = rules.owner_of_ttl(ttl)
    assert owner & (1 << 64) - 1 == 0xFF00_0000_0000_0000 | ttl
    assert rules.ttl_of(owner) == ttl
    assert rules.kind(owner) is NodeKind.TTL


def test_one_that_353_has_written_is_read() -> None:
    assert OwnerRules(extended=True, emulate_353=True).ttl_of(OF_353) == 5000
