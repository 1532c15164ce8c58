"""Members that come, go and move while the server runs: election connections, and ports that are bound elsewhere."""

from electionport import PORT, Member, Town, address, host
from test_listener import ONE, TWO, Opened

# -- connections -------------------------------------------------------------------------------------------------------


def town_of_three() -> tuple[Town, dict[int, Member]]:
    """Three servers of which each knows the others."""
    town = Town()
    members = {sid: Member(town, sid, {one: address(one) for one in (1, 2, 3)}).start() for sid in (1, 2, 3)}
    town.run(200)
    return town, members


def test_who_comes_is_dialled() -> None:
    town, members = town_of_three()
    newcomer = Member(town, 4, {sid: address(sid) for sid in (1, 2, 3, 4)})
    newcomer.listener.bind()
    members[3].manager.use({sid: address(sid) for sid in (1, 2, 3, 4)}, {})
    newcomer.manager.start()
    town.run(200)
    assert members[3].manager.is_connected(4)
    assert newcomer.manager.is_connected(3)


def test_who_leaves_keeps_its_connection_and_is_not_dialled_again() -> None:
    town, members = town_of_three()
    members[3].manager.use({sid: address(sid) for sid in (2, 3)}, {})
    town.run(1000)
    assert members[3].manager.is_connected(1)
    members[1].die()
    town.run(1000)
    assert not members[3].manager.is_connected(1)
    assert members[3].times("refused", 1) == 0
    assert members[3].times("disconnected", 1) == 1


def test_who_moves_is_dialled_there() -> None:
    town = Town()
    member = Member(town, 3, {3: address(3), 1: [(host(9), PORT)]}).start()
    accepted = town.listen(1)
    town.run(1000)
    assert not accepted
    member.manager.use({3: address(3), 1: address(1)}, {})
    town.run(100)
    assert len(accepted) == 1


def test_an_observer_that_is_to_vote_is_dialled() -> None:
    town = Town()
    member = Member(town, 3, {3: address(3)}, {1: address(1)}).start()
    accepted = town.listen(1)
    town.run(2000)
    assert not accepted
    member.manager.use({3: address(3), 1: address(1)}, {})
    town.run(100)
    assert len(accepted) == 1


def test_we_say_where_we_listen_now() -> None:
    town = Town()
    member = Member(town, 3, {3: address(3), 1: address(1)})
    accepted = town.listen(1)
    member.manager.move([("10.9.9.9", 4444)])
    member.start()
    town.run(100)
    assert b"10.9.9.9:4444" in accepted[0].received


# -- ports -------------------------------------------------------------------------------------------------------------


def test_a_port_is_bound_elsewhere_once_the_old_one_is_closed() -> None:
    opened = Opened(ONE)
    opened.open()
    opened.listener.readdress([TWO])
    assert [port.where for port in opened.reactor.closing] == [ONE]
    opened.reactor.end_closing()
    assert opened.reactor.held == [TWO]


def test_the_same_address_stays_open() -> None:
    opened = Opened(ONE, TWO)
    opened.open()
    opened.listener.readdress([ONE, TWO])
    assert not opened.reactor.closing


def test_what_is_closed_is_opened_there_later() -> None:
    opened = Opened(ONE)
    opened.open()
    opened.listener.close()
    opened.reactor.end_closing()
    opened.listener.readdress([TWO])
    assert not opened.reactor.held
    opened.open()
    assert opened.reactor.held == [TWO]


def test_an_address_that_is_taken_is_tried_again_and_again() -> None:
    opened = Opened(ONE)
    opened.open()
    opened.reactor.held.append(TWO)
    opened.listener.readdress([TWO])
    opened.reactor.end_closing()
    opened.reactor.pump([1.0] * 20)
    opened.reactor.held.remove(TWO)
    opened.reactor.pump([1.0])
    assert opened.reactor.held == [TWO]
