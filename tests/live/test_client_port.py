"""The client port of a real server: limits, silence and strangers, each with its line in the log."""

import socket
import time
from collections.abc import Iterator

import pytest
from ensemble import HOST, Ensemble, Node, wait_until
from kazoo.client import KazooClient

pytestmark = pytest.mark.live

SILENCE_S = 1.0


@pytest.fixture
def server() -> Iterator[Node]:
    extra = ["maxClientCnxns=3", f"nio.sessionlessCnxnTimeout={int(SILENCE_S * 1000)}"]
    with Ensemble(["zktw"], extra=extra) as alone:
        alone.start()
        alone.wait_serving()
        yield alone[1]
        assert "Traceback" not in alone[1].log_text()
        assert alone[1].ask("ruok") == "imok"


def connected(node: Node) -> socket.socket:
    return socket.create_connection((HOST, node.client_port), 5)


def rest(link: socket.socket) -> bytes:
    """All that still comes, however it ends."""
    data = bytearray()
    with link:
        try:
            while piece := link.recv(65536):
                data += piece
        except ConnectionError:
            pass
    return bytes(data)


def lines_with(node: Node, text: str) -> list[str]:
    return [line for line in node.log_text().splitlines() if text in line]


def test_one_address_has_so_many_connections(server: Node) -> None:
    links = [connected(server) for _ in range(4)]
    began = time.monotonic()
    assert rest(links[3]) == b""
    assert time.monotonic() - began < SILENCE_S
    links[0].sendall(b"ruok")
    assert rest(links[0]) == b"imok"
    # The place of the one that was answered is free.
    with connected(server) as link:
        link.sendall(b"ruok")
        assert link.recv(10) == b"imok"
    assert len(lines_with(server, "maxClientCnxns")) == 1
    for link in links:
        link.close()


def test_a_connection_that_says_nothing_is_closed(server: Node) -> None:
    began = time.monotonic()
    link = connected(server)
    link.sendall(b"ru")
    assert rest(link) == b""
    assert SILENCE_S * 0.9 <= time.monotonic() - began < 5
    assert len(lines_with(server, "nothing whole came from it in 1000 ms")) == 1
    assert "zk_sessionless_connections_expired\t1\n" in server.ask("mntr")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP request (GET...)"),
        (b"\x16\x03\x01\x00\xc8" + bytes(200), "TLS handshake"),
        (b"\x7f\xff\xff\xff", "a first frame of 2147483647 bytes"),
        (b"\xff" * 4096, "a first frame of -1 bytes"),
    ],
)
def test_strangers_are_closed_with_one_line(server: Node, data: bytes, reason: str) -> None:
    with connected(server) as neighbour:
        link = connected(server)
        port = link.getsockname()[1]
        link.sendall(data)
        assert rest(link) == b""
        wait_until("a line of the log", lambda: bool(lines_with(server, f":{port}")))
        (line,) = lines_with(server, f":{port}")
        assert reason in line
        neighbour.sendall(b"ruok")
        assert neighbour.recv(10) == b"imok"


def test_a_client_is_served(server: Node) -> None:
    client = KazooClient(server.address)
    client.start(timeout=10)
    assert client.create("/served", b"yes") == "/served"
    assert client.get("/served")[0] == b"yes"
    client.stop()
    client.close()
    assert "zk_cnxn_closed_without_zk_server_running\t0\n" in server.ask("mntr")


def test_a_thousand_words_leave_nothing_behind(server: Node) -> None:
    before = server.ask("mntr").split("zk_open_file_descriptor_count\t")[1].split()[0]
    for _ in range(1000):
        assert server.ask("ruok") == "imok"
    after = server.ask("mntr").split("zk_open_file_descriptor_count\t")[1].split()[0]
    # A connection of before may have been about to end.
    assert int(after) <= int(before)
