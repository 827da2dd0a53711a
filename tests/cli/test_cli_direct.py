"""The direct way: who is shown, who must go, and that a swap which cannot end well does not begin."""

from __future__ import annotations

import pytest

from hotseat.cli.access.direct import Direct
from hotseat.errors import NoRoom, NotFound, Quarantined, Refused, Unavailable
from hotseat.words import State

GIB = 1 << 30


def quiet(phase: str, what: str) -> None:
    pass


async def test_rows_show_gpu_workloads_and_strangers_but_other_containers_only_when_asked(machine) -> None:
    machine.strangers = {777: GIB}
    rows = {row.name: row for row in await Direct(machine).rows()}
    assert list(rows) == ["a", "b", "777"]
    assert rows["a"].state is State.SEATED
    assert rows["a"].models == ("a-8b", "a")
    assert rows["b"].state is State.PARKED
    assert rows["b"].cells()[5] == "0 (needs 6 GiB)"
    assert rows["777"].container == "process:777"
    everyone = [row.name for row in await Direct(machine).rows(everything=True)]
    assert everyone == ["a", "b", "web", "777"]


async def test_swap_parks_the_one_in_the_way(machine) -> None:
    reports = await Direct(machine).swap("b", None, progress=quiet)
    assert [(report.direction, report.workload) for report in reports] == [("out", "a"), ("in", "b")]
    assert machine.parked == {"a"}


async def test_the_one_that_comes_begins_to_while_the_other_goes(machine, monkeypatch) -> None:
    async def ahead(workload) -> None:
        machine.log.append(f"ahead {workload.name}")
        raise Unavailable("no store answers")

    monkeypatch.setattr(machine, "ahead", ahead, raising=False)
    told: list[tuple[str, str]] = []
    await Direct(machine).swap("b", "a", progress=lambda *one: told.append(one))
    assert sorted(machine.log) == ["ahead b", "in b", "out a"]
    assert machine.log[-1] == "in b"
    assert ("checkpoint", "start") in told


async def test_swap_parks_nobody_if_there_is_room(machine) -> None:
    machine.sizes["a"] = GIB
    reports = await Direct(machine).swap("b", None, progress=quiet)
    assert [(report.direction, report.workload) for report in reports] == [("in", "b")]


async def test_swap_asks_who_goes_when_there_are_two(machine) -> None:
    machine.sizes |= {"a": 4 * GIB, "c": 4 * GIB}
    with pytest.raises(Refused, match="a, c sits there"):
        await Direct(machine).swap("b", None, progress=quiet)
    assert machine.log == []


async def test_swap_does_not_begin_if_the_other_is_not_parked(machine) -> None:
    machine.sizes["c"] = GIB
    with pytest.raises(Refused, match="c is seated, not parked"):
        await Direct(machine).swap("c", "a", progress=quiet)
    assert machine.log == []


async def test_swap_with_itself_is_refused(machine) -> None:
    with pytest.raises(Refused, match="same container"):
        await Direct(machine).swap("b", "docker:b", progress=quiet)


async def test_out_gets_its_seat_back_if_in_cannot_sit(machine) -> None:
    machine.failing["b"] = Quarantined("b is lost")
    with pytest.raises(Quarantined) as caught:
        await Direct(machine).swap("b", "a", progress=quiet)
    assert caught.value.message == "b is lost; a has its seat again"
    assert machine.log == ["out a", "in b", "in a"]
    assert machine.parked == {"b"}


async def test_what_was_parked_before_stays_parked_when_in_cannot_sit(machine) -> None:
    machine.sizes["c"] = 7 * GIB
    machine.parked = {"b", "a"}
    with pytest.raises(NoRoom):
        await Direct(machine).swap("b", "a", progress=quiet)
    assert machine.parked == {"b", "a"}
    assert machine.log == ["out a", "in b"]


async def test_unknown_names_are_not_found(machine) -> None:
    with pytest.raises(NotFound):
        await Direct(machine).park("nobody", whole=True, progress=quiet)
