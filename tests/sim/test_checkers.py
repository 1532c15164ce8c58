"""Checkers by themselves, where no seed of the mutants comes to the point: each is shown what it must object to."""

import re

import pytest
from freshtree import fresh_file

from zktw.sim.checkers import Checkers
from zktw.sim.world import DATA, World
from zktw.storage.datadir import VERSION_DIRECTORY, DataDir
from zktw.terms.vote import PeerState


def world_with(files: dict[str, bytes]) -> World:
    """Three servers that are not started; the first one's disk holds these files."""
    world = World(1, start=False)
    Checkers(world)
    disk = world.servers[1].disk
    directory = f"{DATA}/{VERSION_DIRECTORY}"
    for path in (DATA, directory):
        disk.make_directory(path)
    for name, content in files.items():
        disk.write(f"{directory}/{name}", content)
        disk.sync(f"{directory}/{name}")
    disk.sync_directory(directory)
    return world


BEHIND = {"acceptedEpoch": b"1", "currentEpoch": b"0", "snapshot.100000000": fresh_file()}


def test_an_epoch_behind_its_history_catches_up_before_the_first_vote() -> None:
    world = world_with(BEHIND)
    world.start(1)
    world.run(1000)
    assert world.servers[1].state == PeerState.LOOKING
    assert not world.broken


def test_a_vote_before_the_epoch_has_caught_up_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataDir, "write_epoch", lambda self, name, epoch: None)
    world = world_with(BEHIND)
    world.start(1)
    world.run(1000)
    assert world.broken == "D1: server 1 votes with snapshot.100000000 above currentEpoch 0 on disk"


def test_a_vote_for_an_epoch_that_is_not_on_disk_is_objected_to() -> None:
    world = World(1)
    Checkers(world)
    assert world.run_until(lambda: world.complete and world.settled(), limit_ms=3000)
    for server in world.servers.values():
        assert server.node is not None
        assert server.node.peer is not None
        server.node.peer.history.current_epoch = 7
    world.crash(next(sid for sid, server in world.servers.items() if server.state == PeerState.LEADING))
    world.run(3000)
    assert re.fullmatch(r"D2: server \d votes for Vote\(.*\) with currentEpoch 1 on disk", world.broken)


def test_an_epoch_that_one_leader_establishes_twice_is_objected_to() -> None:
    world = World(1)
    checkers = Checkers(world)
    assert world.run_until(lambda: world.complete and world.settled(), limit_ms=3000)
    ((epoch, (leader, term)),) = checkers.established.items()
    checkers.established[epoch + 1] = (leader, term)
    follower = next(sid for sid in world.servers if sid != leader)
    for sid in world.servers:
        if sid not in (leader, follower):
            world.crash(sid)
    # The follower's end makes the leader look again; with the third one down the two elect one of them anew.
    for pipe in world.network.pipes():
        pipe.sever()
    world.run(5000)
    assert world.broken.startswith("L2: ")
