"""The client port on a transport that ends the moment it is told to: nothing happens twice, nothing behind the end."""

from typing import Any

from clientport import TIMEOUT_MS, ClientPort
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import LogLevel, capturedLogs

from zktw.net.clientcnxn import ClientCnxn

CONNECT = bytes.fromhex("0000002d" + "00000000000000000000000000002710000000000000000000000010" + "00" * 16 + "00")


class Transport(StringTransportWithDisconnection):
    """Tells its protocol at once that it has ended, as no socket does."""

    def __init__(self, port: int) -> None:
        StringTransportWithDisconnection.__init__(self, peerAddress=IPv4Address("TCP", "192.0.2.1", port))
        self.no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        assert not enabled


def connected(port: ClientPort, number: int = 40_001) -> tuple[ClientCnxn, Any]:
    transport: Any = Transport(number)
    cnxn: Any = port.factory.buildProtocol(transport.getPeer())
    assert cnxn is not None
    transport.protocol = cnxn
    cnxn.makeConnection(transport)
    return cnxn, transport


def test_an_answer_leaves_at_once() -> None:
    _, transport = connected(ClientPort())
    assert transport.no_delay


def test_an_answer_is_written_before_the_end() -> None:
    port = ClientPort()
    cnxn, transport = connected(port)
    cnxn.dataReceived(b"ruok\r\n")
    assert transport.value() == b"imok"
    assert not transport.connected
    assert len(port.factory) == 0
    assert port.reactor.getDelayedCalls() == []


def test_a_client_that_is_turned_away_is_forgotten() -> None:
    port = ClientPort()
    cnxn, transport = connected(port)
    with capturedLogs() as events:
        cnxn.dataReceived(CONNECT)
    assert transport.value() == b""
    assert not transport.connected
    assert len(port.factory) == 0
    assert [event["log_level"] for event in events] == [LogLevel.info]


def test_silent_ones_that_end_together_end_once() -> None:
    port = ClientPort()
    transports = [connected(port, 40_000 + number)[1] for number in range(5)]
    port.reactor.advance(TIMEOUT_MS / 1000)
    assert not any(transport.connected for transport in transports)
    assert port.service.counts["sessionless_connections_expired"] == 5
    assert len(port.factory) == 0
    assert port.reactor.getDelayedCalls() == []


def test_all_of_them_end_when_the_server_stops() -> None:
    port = ClientPort()
    transports = [connected(port, 40_000 + number)[1] for number in range(5)]
    port.factory.close_all()
    assert not any(transport.connected for transport in transports)
    assert len(port.factory) == 0


@given(st.lists(st.sampled_from([b"ruok", b"stmk", CONNECT, b"GET "]) | st.binary(max_size=60), max_size=6))
def test_whatever_was_said_nobody_is_left(pieces: list[bytes]) -> None:
    port = ClientPort(max_client_cnxns=1)
    cnxn, transport = connected(port)
    with capturedLogs() as events:
        for piece in pieces:
            if transport.connected:
                cnxn.dataReceived(piece)
        port.reactor.advance(TIMEOUT_MS / 1000)
    # A word that was answered leaves no line; every other end leaves one, be it a refusal or silence.
    expired = "sessionless_connections_expired" in port.service.counts
    assert len(events) == (0 if port.service.asked and not expired else 1)
    assert not transport.connected
    assert len(port.factory) == 0
    assert port.reactor.getDelayedCalls() == []
    connected(port)
