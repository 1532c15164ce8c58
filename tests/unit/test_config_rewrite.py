"""The files of a configuration that changes, as Apache's servers of 3.9 were seen to leave them."""

from hypothesis import given
from hypothesis import strategies as st

from zktw.config.properties import parse_properties
from zktw.config.rewrite import backup_path, dynamic_path, dynamic_text, next_path, rewrite_static
from zktw.quorum.ensemble import Ensemble

MEMBERS = Ensemble.from_text(
    "server.1=127.0.0.1:26833:26060:participant\n"
    "server.2=127.0.0.1:18123:30888:participant\n"
    "server.10=127.0.0.1:18124:30889:observer;0.0.0.0:2181\n"
    "version=100000002"
)


def test_names() -> None:
    assert dynamic_path("/etc/zk/zoo.cfg", 0x100000002) == "/etc/zk/zoo.cfg.dynamic.100000002"
    assert next_path("/etc/zk/zoo.cfg") == "/etc/zk/zoo.cfg.dynamic.next"
    assert backup_path("/etc/zk/zoo.cfg") == "/etc/zk/zoo.cfg.bak"


def test_the_dynamic_file_is_sorted_and_has_no_version() -> None:
    assert dynamic_text(MEMBERS) == (
        "server.10=127.0.0.1:18124:30889:observer;0.0.0.0:2181\n"
        "server.1=127.0.0.1:26833:26060:participant\n"
        "server.2=127.0.0.1:18123:30888:participant"
    )


STATIC = """# ours
tickTime=2000

dataDir=/data
clientPort=2181
clientPortAddress=127.0.0.1
peerType=participant
#server.9=a comment
server.1=127.0.0.1:1:2
 server.2 : 127.0.0.1:\\
   3:4
weight.1=1
group.1=1:2
initLimit=10
"""


def test_the_static_file_names_the_dynamic_one_instead_of_members() -> None:
    assert rewrite_static(STATIC, "/cfg/zoo.cfg.dynamic.5", without_client_port=False) == (
        "# ours\ntickTime=2000\n\ndataDir=/data\nclientPort=2181\nclientPortAddress=127.0.0.1\n#server.9=a comment\n"
        "initLimit=10\ndynamicConfigFile=/cfg/zoo.cfg.dynamic.5\n"
    )


def test_the_client_port_goes_where_the_list_of_servers_says_it() -> None:
    text = rewrite_static(STATIC, "/cfg/zoo.cfg.dynamic.5", without_client_port=True)
    assert "clientPort" not in text
    assert "dataDir=/data\n" in text


def test_a_file_that_names_one_names_the_next() -> None:
    once = rewrite_static(STATIC, "/cfg/zoo.cfg.dynamic.5", without_client_port=False)
    twice = rewrite_static(once, "/cfg/zoo.cfg.dynamic.6", without_client_port=False)
    assert twice == once.replace("dynamic.5", "dynamic.6")


@given(st.text("abp=: \\\n#!server.12\t", max_size=80))
def test_nothing_else_is_lost(text: str) -> None:
    before = [pair for pair in parse_properties(text) if not pair[0].startswith(("server.", "group", "weight"))]
    after = parse_properties(rewrite_static(text, "/x\\y", without_client_port=False))
    # A backslash as the last of all continues with nothing, which may or may not be taken for a line.
    assert [pair for pair in after if any(pair)] == [
        *(pair for pair in before if any(pair)),
        ("dynamicConfigFile", "/x\\y"),
    ]
