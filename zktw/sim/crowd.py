"""Crowd: the clients of one world, what befalls all of them at once, and what is asked of all of them."""

from collections.abc import Sequence

from zktw.node.clock import Random
from zktw.sim.client import SimClient
from zktw.sim.stage import Stage

# Longer than any session that nobody speaks for, with the ticks that its end may come late.
QUIET_MS = 6000


def make_clients(
    world: Stage, count: int, servers: Sequence[tuple[str, int]], *, registers: Sequence[str] = ()
) -> list[SimClient]:
    """So many, each on a host of its own, with a session timeout by the world's seed."""
    return [
        SimClient(
            world.schedule,
            world.network,
            f"10.0.1.{number}",
            servers,
            Random(world.random.random()),
            world.random.choice((1500, 2000, 4000)),
            registers=registers,
        )
        for number in range(1, count + 1)
    ]


def revive(world: Stage, clients: Sequence[SimClient]) -> None:
    """All of them are awake and alive."""
    for client in clients:
        world.schedule.resume(client.process)
        client.start_again()


def all_answered(clients: Sequence[SimClient]) -> bool:
    """Whether no client waits for anything."""
    return all(client.idle for client in clients)


def let_rest(clients: Sequence[SimClient]) -> None:
    """They ask for nothing more."""
    for client in clients:
        client.busy = False


def where_they_are(clients: Sequence[SimClient]) -> str:
    """By client whether it is connected, and what it waits for."""
    return str({client.host: (client.connected, client.waiting) for client in clients})


def half_vanish(world: Stage, clients: Sequence[SimClient]) -> set[int]:
    """Every second client dies, and in time nothing is left of those; the sessions that must live then."""
    for client in clients[::2]:
        client.die()
    world.run(QUIET_MS)
    return {client.session_id for client in clients[1::2]}
