"""Workloads that come, change and go while others are served: the core alone, then a whole daemon."""

from daemon_world import Heard, World

from hotseat import config
from hotseat.config import HostMemory
from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind
from hotseat.daemon.observing import SEEK_WITHIN
from hotseat.errors import NotFound, Unavailable
from hotseat.words import State

ALL = """
defaults: {min_stay: 5s, linger: 1s, max_wait: 100s}
workloads:
  a: {port: 1}
  b: {port: 2, drain: 10s}
  c: {port: 3, start: false}
  d: {port: 4}
"""


def without(name: str) -> str:
    return "\n".join(line for line in ALL.splitlines() if not line.startswith(f"  {name}:"))


def test_one_that_comes_is_looked_at_before_anybody_is_told_that_it_does_not_run() -> None:
    world = World()
    world.configure(without("b"))
    assert "b" not in world.core.records
    changes = world.configure(ALL)
    assert changes.added == ("b",)
    ticket = world.ask("b")
    assert world.told(ticket) is None
    assert world.jobs == {}
    world.send(world.look("b"))
    world.tick(6.0)
    assert world.jobs == {"a": JobKind.SWAP_OUT}, "b is parked, so a makes room for it"


def test_one_that_goes_takes_no_new_requests_and_those_that_wait_are_told() -> None:
    world = World()
    waits = world.ask("b")
    wish = Heard()
    world.send(m.Seat(workload="b", answer=wish))
    changes = world.configure(without("b"))
    assert changes.removed == ("b",)
    late = world.ask("b")
    assert isinstance(world.told(waits), NotFound)
    assert isinstance(world.told(late), NotFound)
    assert isinstance(wish.errors[0], NotFound)
    assert "b" not in world.core.models


def test_one_that_goes_ends_its_answers_and_its_job_and_is_then_forgotten() -> None:
    world = World()
    ticket = world.ask("a")
    world.send(m.Probed(workload="a", number=world.probes.pop("a")))
    parked = Heard()
    world.send(m.Park(workload="a", answer=parked))
    world.configure(without("a"))
    assert world.core.records["a"].leaving
    world.end_job("a")
    assert parked.values
    world.tick(1.0)
    assert world.jobs == {"a": JobKind.SWAP_IN}, "its answer is frozen: it gets its seat back to end it"
    world.end_job("a")
    assert "a" in world.core.records
    world.send(m.Left(ticket=ticket))
    assert "a" not in world.core.records
    assert world.real["a"].state is State.SEATED


def test_one_that_goes_while_parked_stays_parked() -> None:
    world = World()
    world.configure(without("b"))
    world.tick(100.0)
    assert world.jobs == {}
    assert world.real["b"].state is State.PARKED


def test_one_that_comes_back_before_it_was_forgotten_goes_on_as_it_was() -> None:
    world = World()
    ticket = world.ask("a")
    world.send(m.Probed(workload="a", number=world.probes.pop("a")))
    world.configure(without("a"))
    assert world.configure(ALL).added == ("a",)
    again = world.ask("a")
    assert world.told(again) == 0.0
    assert ticket in world.core.records["a"].in_flight


def test_settings_change_at_once_except_those_that_make_the_process() -> None:
    world = World()
    text = "workloads: {a: {platform: process, command: [x], port: 1}}"
    world.configure(text)
    changes = world.configure("workloads: {a: {platform: process, command: [y], port: 2, models: [m], priority: 3}}")
    assert set(changes.changed["a"]) == {"port", "models", "priority"}
    assert changes.at_next_start["a"] == ("command",)
    assert world.core.models["m"].spec.port == 2
    assert world.equipped["a"].command == ["y"]


def test_another_container_of_the_same_name_waits_for_the_last_answer_of_the_old_one() -> None:
    world = World()
    answering = world.ask("a")
    world.send(m.Probed(workload="a", number=world.probes.pop("a")))
    world.configure(ALL.replace("{port: 1}", "{port: 9, container: other}"))
    waits = world.ask("a")
    assert world.told(waits) is None
    assert world.equipped["a"].container == "a"
    world.send(m.Left(ticket=answering))
    assert world.equipped["a"].container == "other"
    assert world.told(waits) is None
    world.send(world.look("a"))
    world.send(m.Probed(workload="a", number=world.probes.pop("a")))
    assert world.told(waits) == 0.0


def test_the_budget_of_host_memory_changes_at_once() -> None:
    world = World()
    specs = {name: record.spec for name, record in world.core.records.items()}
    world.send(m.Configure(specs=specs, caps={}, host=HostMemory(parked=3, reserve=1)))
    assert world.core.host.room is not None
    assert world.core.host.room.budget == 3
    world.send(m.Configure(specs=specs, caps={}))
    assert world.core.host.room.budget == 3


def test_caps_change_at_once() -> None:
    world = World()
    world.configure(ALL, caps={0: 5})
    assert world.core.caps == {0: 5}
    ticket = world.ask("b")
    assert "which offers" in str(world.told(ticket))


def test_a_look_at_the_forgotten_does_not_count_for_its_namesake() -> None:
    world = World()
    stale = world.look("b")
    world.configure(without("b"))
    world.configure(ALL)
    world.send(stale)
    assert not world.core.records["b"].looked


def found(world: World, identity: str, container: str = "b") -> None:
    """Discovery says that b is the container with this id now."""
    specs = dict(config.parse(ALL).workloads)
    specs["b"] = specs["b"].model_copy(update={"container": container}).of(identity)
    world.send(m.Configure(specs=specs, caps={}))


def gone(world: World) -> None:
    world.send(m.Observed(workload="b", epoch=world.core.records["b"].epoch, observation=None))


def test_a_renamed_container_is_the_same_workload() -> None:
    world = World()
    found(world, "id-b")
    before = world.core.records["b"]
    found(world, "id-b", container="new-name")
    assert world.core.records["b"] is before
    assert (before.successor, before.spec.container) == (None, "new-name")


def test_who_asks_for_a_container_that_is_gone_waits_until_discovery_has_looked() -> None:
    world = World()
    found(world, "id-b")
    gone(world)
    assert world.sought == ["b"]
    ticket = world.ask("b")
    world.tick(1.0)
    assert world.told(ticket) is None
    found(world, "another")
    assert world.core.records["b"].spec.identity == "another"
    assert world.told(ticket) is None
    world.send(world.look("b"))
    world.tick(6.0)
    assert world.jobs == {"a": JobKind.SWAP_OUT}


def test_it_waits_no_longer_than_that() -> None:
    world = World()
    found(world, "id-b")
    gone(world)
    ticket = world.ask("b")
    world.tick(SEEK_WITHIN - 0.1)
    gone(world)
    assert world.told(ticket) is None
    world.tick(0.1)
    assert isinstance(world.told(ticket), Unavailable)
    gone(world)
    assert world.sought == ["b"], "a look that says the same again is no news"
    assert isinstance(world.told(world.ask("b")), Unavailable)


def test_what_was_learned_stays_with_what_was_made_anew_and_with_nothing_else() -> None:
    world = World()
    found(world, "1")
    learned = world.core.records["b"].learned
    found(world, "2")
    assert world.core.records["b"].learned is learned
    found(world, "3", container="other")
    assert world.core.records["b"].learned is not learned
