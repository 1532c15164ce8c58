"""The world's own rules: signals, healing, and what a process leaves to the next one."""

from zktw.sim.world import World


def test_a_paused_process_takes_its_signal_when_it_goes_on() -> None:
    world = World(1)
    assert world.run_until(world.settled, limit_ms=3000)
    world.pause(1)
    world.stop(1)
    world.run(1000)
    assert world.servers[1].alive
    world.resume(1)
    world.run(1000)
    assert not world.servers[1].alive


def test_after_healing_every_server_lives_even_one_that_is_on_its_way_out() -> None:
    world = World(1, voters=5)
    assert world.run_until(world.settled, limit_ms=3000)
    world.pause(4)
    world.stop(4)
    world.crash(5, power=True)
    world.run(3000)
    world.stop(3)
    world.heal()
    assert world.run_until(lambda: world.complete and world.settled(), limit_ms=10_000)
    assert [server.starts for server in world.servers.values()] == [1, 1, 2, 2, 2]


def test_the_same_seed_is_the_same_world_and_another_is_not() -> None:
    def trace(seed: int) -> list[str]:
        world = World(seed)
        world.run(2000)
        return [str(moment) for moment in world.trace]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_a_process_dies_at_the_file_operation_it_is_told_to_die_at() -> None:
    """A first start writes a snapshot and two epochs; wherever it dies, the next start works."""
    for operation in range(1, 13):
        world = World(operation, start=False)
        world.crash_at(1, operation, power=True)
        world.start(1)
        world.run(1000)
        server = world.servers[1]
        assert not server.alive
        assert server.disk.operations == operation
        world.start(1)
        world.run(1000)
        assert server.alive, operation
