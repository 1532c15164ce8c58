"""The texts that every word shares, spelt out: who compares them with our own constants sees no slip in these."""

import pytest
from wordfacts import FakeFacts, member

from zktw.admin.commands import TELNET_CLOSE, TELNET_CLOSE_NAME, answer

NOT_SERVING = b"This ZooKeeper instance is not currently serving requests\n"
WHILE_SERVING = ["conf", "cons", "crst", "dirs", "dump", "mntr", "srst", "srvr", "stat", "wchc", "wchp", "wchs"]


@pytest.mark.parametrize("word", WHILE_SERVING)
def test_who_does_not_serve_says_so_to_the_byte(word: str) -> None:
    assert answer(word, FakeFacts(is_serving=False)) == NOT_SERVING


def test_hash_says_so_without_a_line_end() -> None:
    assert answer("hash", FakeFacts(is_serving=False)) == NOT_SERVING[:-1]


def test_a_telnets_end_is_refused_by_its_name() -> None:
    assert TELNET_CLOSE == b"\xff\xf4\xff\xfd"
    refusal = answer(TELNET_CLOSE_NAME, member("leader", words=frozenset({"srvr"})))
    assert refusal == b"telnet close is not executed because it is not in the whitelist.\n"


def test_a_whitelist_of_no_words_refuses_them_all() -> None:
    facts = member("follower", words=frozenset())
    for word in (*WHILE_SERVING, "envi", "gtmk", "hash", "isro", "ruok", "stmk"):
        assert answer(word, facts) == f"{word} is not executed because it is not in the whitelist.\n".encode()
