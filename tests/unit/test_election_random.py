"""Elections of several servers over a network that reorders, repeats and loses: none breaks, and all end as one."""

from dataclasses import dataclass, field

from electing import FOLLOWING, LEADING, LOOKING, ensemble
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.quorum.election import FastLeaderElection
from zktw.terms.vote import Notification, Vote
from zktw.wire.effects import Elected, ElectionEffect, SendVote

# How long servers that have decided wait for a quorum with the same leader before they look again.
PATIENCE_MS = 2000
INTERVAL_MAX_MS = 1600


@dataclass
class Network:
    """Servers 1 to n, their votes for themselves, and what is under way between them."""

    votes: list[Vote]
    now_ms: float = 0
    cores: dict[int, FastLeaderElection] = field(default_factory=dict)
    # (from, to) -> messages under way, in order of sending, each with its time of arrival.
    wires: dict[tuple[int, int], list[tuple[float, Notification]]] = field(default_factory=dict)
    delays_ms: list[float] = field(default_factory=lambda: [1.0])
    sent: int = 0

    def __post_init__(self) -> None:
        members = ensemble(len(self.votes))
        for sid in members.voters:
            self.cores[sid] = FastLeaderElection(sid, members, interval_max_ms=INTERVAL_MAX_MS)
            for other in members.voters:
                if other != sid:
                    self.wires[sid, other] = []

    def look(self, sid: int) -> None:
        """Let a server enter an election."""
        self.do(sid, self.cores[sid].look(self.votes[sid - 1], self.now_ms))

    def do(self, sid: int, effects: list[ElectionEffect]) -> None:
        """Put what a server sends under way; whoever is elected is no worse than any of those whose votes decided."""
        for effect in effects:
            match effect:
                case SendVote(to, notification):
                    delay = self.delays_ms[self.sent % len(self.delays_ms)]
                    self.sent += 1
                    wire = self.wires[sid, to]
                    earliest = wire[-1][0] if wire else 0
                    wire.append((max(self.now_ms + delay, earliest), notification))
                case Elected(_, vote, _, electors, joined):
                    assert self.cores[1].ensemble.verifier().contains_quorum(electors)
                    assert joined or all(vote[:2] >= self.votes[elector - 1][:2] for elector in electors)

    def deliver(self, way: tuple[int, int], place: int, *, keep: bool = False) -> None:
        """Hand over one of the messages under way, wherever it stands, maybe to come once more."""
        wire = self.wires[way]
        _, notification = wire[place]
        if not keep:
            del wire[place]
        sid = way[1]
        self.do(sid, self.cores[sid].on_notification(notification, self.now_ms))

    def break_off(self, one: int, other: int) -> None:
        """End the connection of two servers, with all that is under way on it."""
        self.wires[one, other].clear()
        self.wires[other, one].clear()
        for sid, peer in ((one, other), (other, one)):
            self.do(sid, self.cores[sid].on_disconnected(peer))

    def connect(self, one: int, other: int) -> None:
        """Make a new connection between two servers."""
        for sid, peer in ((one, other), (other, one)):
            self.do(sid, self.cores[sid].on_connected(peer))

    def advance(self, now_ms: float) -> None:
        """Let time pass for all servers."""
        self.now_ms = now_ms
        for sid, core in self.cores.items():
            if core.deadline_ms is not None and now_ms >= core.deadline_ms:
                self.do(sid, core.on_deadline(now_ms))

    def run(self, until_ms: float) -> None:
        """Deliver each message once, in order, until this time."""
        while self.now_ms < until_ms:
            arrivals = [wire[0][0] for wire in self.wires.values() if wire]
            deadlines = [core.deadline_ms for core in self.cores.values() if core.deadline_ms is not None]
            self.advance(max(self.now_ms, min([*arrivals, *deadlines, until_ms])))
            for way, wire in self.wires.items():
                if wire and wire[0][0] <= self.now_ms:
                    self.deliver(way, 0)

    def followers(self, leader: int) -> list[int]:
        """Who follows this leader; itself if it leads."""
        return [
            sid
            for sid, core in self.cores.items()
            if core.vote.leader == leader and core.state == (LEADING if sid == leader else FOLLOWING)
        ]

    def give_up_what_fails(self) -> None:
        """As the roles do: without a leader that leads a quorum, look again."""
        for leader, core in self.cores.items():
            followers = self.followers(leader)
            if core.state == LEADING and not core.ensemble.verifier().contains_quorum(followers):
                self.look(leader)
        for sid, core in self.cores.items():
            if core.state == FOLLOWING and self.cores[core.vote.leader].state != LEADING:
                self.look(sid)

    def settled(self) -> bool:
        """Whether all have the same leader, and it leads."""
        return any(len(self.followers(leader)) == len(self.cores) for leader in self.cores)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Three to five servers with histories of their own."""
    count = draw(st.integers(3, 5))
    histories = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=count, max_size=count))
    return Network([Vote(epoch, zxid, sid) for sid, (epoch, zxid) in enumerate(histories, 1)])


def one_step(network: Network, data: st.DataObject) -> None:
    """Anything that may happen on a bad network, or in its servers."""
    busy = [way for way, wire in network.wires.items() if wire]
    sids = st.sampled_from(list(network.cores))
    kinds = ["time", "break", "connect", "refused", "look", *(["deliver"] * 6 + ["repeat", "lose"] if busy else [])]
    kind = data.draw(st.sampled_from(kinds))
    match kind:
        case "time":
            network.advance(network.now_ms + data.draw(st.sampled_from([1, 50, 200, 1000])))
        case "break" | "connect" | "refused":
            one, other = data.draw(st.permutations(list(network.cores)))[:2]
            if kind == "refused":
                network.break_off(one, other)
                network.do(one, network.cores[one].on_refused(other, network.now_ms))
            else:
                (network.break_off if kind == "break" else network.connect)(one, other)
        case "look":
            # The role has ended, or the server was started again.
            sid = data.draw(sids)
            if network.cores[sid].state != LOOKING:
                network.look(sid)
        case _:
            way = data.draw(st.sampled_from(busy))
            place = data.draw(st.integers(0, len(network.wires[way]) - 1))
            if kind == "lose":
                del network.wires[way][place]
            else:
                network.deliver(way, place, keep=kind == "repeat")


def make_reliable(network: Network) -> None:
    """From here on nothing is lost."""
    for one, other in list(network.wires):
        if one < other:
            network.break_off(one, other)
            network.connect(one, other)


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(0, 60), st.data())
def test_whatever_has_happened_all_end_with_one_leader(network: Network, steps: int, data: st.DataObject) -> None:
    for sid in network.cores:
        network.look(sid)
    for _ in range(steps):
        one_step(network, data)
    make_reliable(network)
    for _ in range(10):
        network.run(network.now_ms + PATIENCE_MS)
        if network.settled():
            break
        network.give_up_what_fails()
    assert network.settled()
    # And it stays so: nobody who has a leader is moved by messages.
    network.run(network.now_ms + PATIENCE_MS)
    assert network.settled()


@settings(max_examples=80, deadline=None)
@given(networks(), st.lists(st.floats(0, 60), min_size=1, max_size=20), st.data())
def test_on_a_good_network_the_best_vote_wins_in_one_round(
    network: Network, delays: list[float], data: st.DataObject
) -> None:
    network.delays_ms = delays
    for sid in data.draw(st.permutations(list(network.cores))):
        network.look(sid)
    for core in network.cores.values():
        assert core.state == LOOKING
    network.run(1000)
    best = max(network.votes)
    assert [(core.vote, core.vote_round) for core in network.cores.values()] == [(best, 1)] * len(network.cores)
    assert network.settled()


@settings(max_examples=60, deadline=None)
@given(networks(), st.floats(0, 20), st.data())
def test_without_the_gone_the_best_of_the_rest_is_elected_at_once(
    network: Network, delay: float, data: st.DataObject
) -> None:
    """As after the loss of a leader: with everybody else there, nothing but messages takes time."""
    gone = data.draw(st.integers(1, len(network.cores)))
    network.delays_ms = [delay]
    rest = [sid for sid in network.cores if sid != gone]
    for sid in rest:
        network.cores[sid].on_refused(gone, 0)
        network.look(sid)
    for sid in rest:
        network.wires[sid, gone].clear()
    network.run(4 * delay + 1)
    best = max(network.votes[sid - 1] for sid in rest)
    for sid in rest:
        assert network.cores[sid].vote == best
        assert network.cores[sid].state == (LEADING if sid == best.leader else FOLLOWING)


@settings(max_examples=60, deadline=None)
@given(networks(), st.lists(st.floats(0, 60), min_size=1, max_size=20), st.data())
def test_a_late_server_joins_those_who_have_decided(network: Network, delays: list[float], data: st.DataObject) -> None:
    late = data.draw(st.integers(1, len(network.cores)))
    network.delays_ms = delays
    for sid in network.cores:
        if sid != late:
            network.look(sid)
    network.run(2000)
    early = [core for sid, core in network.cores.items() if sid != late]
    leaders = {core.vote.leader for core in early}
    assert len(leaders) == 1
    # They are established meanwhile, and answer with the epoch that the leader has made.
    for core in early:
        core.adopt_epoch(3)
    network.connect(late, min(leaders))
    network.look(late)
    network.run(4000)
    assert {core.vote.leader for core in network.cores.values()} == leaders
    assert network.settled()
