"""Measuring: medians of what happened, the bare calls beside it, and nobody left behind when it goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotseat.bench import measure, records, report, swap
from hotseat.cli import view
from hotseat.cli.story.curtain import phase_rows
from hotseat.errors import DriverFailed, Refused, VerifyFailed
from hotseat.testing.gpu import GIB, Effect, FakeGpu, Fault
from hotseat.words import Direction, PhaseTime, ProcessRef, ProcessState, SwapReport

A, B = ProcessRef(100, 1), ProcessRef(101, 1)


def swapped(direction: Direction, *phases: tuple[str, float, str]) -> SwapReport:
    return SwapReport(
        workload="a",
        direction=direction,
        phases=tuple(PhaseTime(name=name, seconds=seconds, part=part) for name, seconds, part in phases),
        gpu_bytes={0: 2 * 10**9},
        processes=10,
        cuda_processes=2,
        threads=300,
        started_at=0.0,
    )


def pair(checkpoint: float) -> tuple[SwapReport, SwapReport]:
    return (
        swapped(
            Direction.OUT, ("find", 0.001, "hotseat"), ("checkpoint", checkpoint, "driver"), ("find", 0.002, "hotseat")
        ),
        swapped(Direction.IN, ("restore", 0.5, "driver"), ("release", 0.004, "hotseat")),
    )


def test_medians_of_phases_rates_and_own_part() -> None:
    figures = records.of_swaps([pair(1.0), pair(9.0), pair(2.0)])
    by_name = {phase.name: phase for phase in figures.phases}
    assert (by_name["checkpoint"].median, by_name["checkpoint"].low, by_name["checkpoint"].high) == (2.0, 1.0, 9.0)
    assert by_name["checkpoint"].gb_per_s == pytest.approx(1.0)
    assert by_name["restore"].gb_per_s == pytest.approx(4.0)
    # A phase that happens twice in one swap counts by its sum.
    assert by_name["find"].median == pytest.approx(0.003)
    assert by_name["find"].gb_per_s is None
    assert figures.own_out_seconds == pytest.approx(0.003)
    assert figures.own_in_seconds == pytest.approx(0.004)
    assert figures.in_seconds == pytest.approx(0.504)


def test_what_moves_by_driver_and_store_has_one_rate_over_the_time_of_both() -> None:
    back = swapped(Direction.IN, ("restore", 0.3, "driver"), ("restore", 0.1, "store"), ("unlock", 0.1, "driver"))
    figures = records.of_swaps([(pair(1.0)[0], back)])
    rates = {(phase.name, phase.part): phase.gb_per_s for phase in figures.phases if phase.direction == "in"}
    assert rates == {("restore", "driver"): None, ("restore", "store"): pytest.approx(5.0), ("unlock", "driver"): None}
    assert [row[3] for row in view.phase_rows(back)] == ["", "5.00 GB/s", ""]
    assert [phase.get("gb_per_s") for phase in view.report_json(back)["phases"]] == [None, 5.0, None]
    assert [row[5] for row in phase_rows([back])] == ["", "5.00 GB/s", "", "", ""]


@pytest.mark.looptime
async def test_a_bare_cycle_locks_all_before_it_checkpoints_any_and_restores_all_before_it_unlocks_any() -> None:
    gpu = FakeGpu(devices=[80 * GIB], release_lag=0.5)
    gpu.start(A, {0: 3 * GIB}, group="ranks")
    gpu.start(B, {0: 1 * GIB}, group="ranks")
    cycle = await swap.bare_cycle(gpu, gpu, [A, B])
    steps = [(op, pids) for op, pids in gpu.calls if op not in ("find", "state")]
    assert steps == [(op, (100, 101)) for op in records.CHECKPOINT_PHASES]
    # Memory that is released late is waited for.
    assert cycle.gpu_bytes == 4 * GIB
    assert gpu.free(0) == 76 * GIB


@pytest.mark.looptime
@pytest.mark.parametrize("op", ["lock", "checkpoint"])
async def test_a_bare_cycle_that_fails_leaves_everyone_running(op: str) -> None:
    gpu = FakeGpu(devices=[80 * GIB])
    gpu.start(A, {0: GIB})
    gpu.start(B, {0: GIB})
    gpu.faults.append(Fault(op=op, effect=Effect.RESULT, pid=B.pid))
    with pytest.raises(DriverFailed):
        await swap.bare_cycle(gpu, gpu, [A, B])
    states = await gpu.states([A, B], deadline=1.0)
    assert set(states.values()) == {ProcessState.RUNNING}


@pytest.mark.looptime
async def test_a_bare_checkpoint_that_releases_nothing_is_noticed_and_taken_back() -> None:
    gpu = FakeGpu(devices=[80 * GIB])
    gpu.start(A, {0: GIB})
    gpu.faults.append(Fault(op="checkpoint", effect=Effect.KEEP_MEMORY))
    with pytest.raises(VerifyFailed):
        await swap.bare_cycle(gpu, gpu, [A])
    assert set((await gpu.states([A], deadline=1.0)).values()) == {ProcessState.RUNNING}


async def test_only_what_sits_and_uses_a_gpu_is_measured(machine) -> None:
    with pytest.raises(Refused, match="b is parked"):
        await measure.measure(machine, await machine.find_workload("b"), cycles=1, bare=False, command="x")
    with pytest.raises(Refused, match="web uses no GPU"):
        await measure.measure(machine, await machine.find_workload("web"), cycles=1, bare=False, command="x")
    assert machine.log == []


async def test_a_measurement_warms_up_once_and_ends_seated(machine, tmp_path: Path) -> None:
    told: list[str] = []
    measured = await measure.measure(
        machine,
        await machine.find_workload("a"),
        cycles=3,
        bare=False,
        command="hotseat bench swap a",
        tick=told.append,
    )
    assert machine.log == ["out a", "in a"] * 4
    assert told == ["warming up", "cycle 1 of 3", "cycle 2 of 3", "cycle 3 of 3"]
    assert measured.hotseat.cycles == 3
    page, data = report.write(measured, tmp_path / "results" / "swap")
    text = page.read_text()
    assert "`hotseat bench swap a`" in text
    assert "| out | checkpoint | driver | 2000.0 ms |" in text
    # Whoever reads a figure of the emulated driver is told what it is.
    assert "emulated driver" in text
    figures = json.loads(data.read_text())
    assert figures["hotseat"]["own_out_ms"] == 2.0
    assert figures["bare"] is None


def test_the_bare_driver_stands_beside_the_same_phase_only() -> None:
    bare = records.of_bare([records.BareCycle(lock=0.1, checkpoint=0.9, restore=0.4, unlock=0.2, gpu_bytes=10**9)])
    measured = records.Measurement(
        workload="a",
        command="x",
        date="d",
        machine={},
        emulated=False,
        processes=1,
        cuda_processes=1,
        threads=1,
        hotseat=records.of_swaps([pair(1.0)]),
        bare=bare,
    )
    beside = {row[1]: row[-1] for row in report.rows(measured)}
    assert beside == {"find": "", "checkpoint": "900.0 ms", "restore": "400.0 ms", "release": ""}
    assert (bare.out_seconds, bare.in_seconds) == (pytest.approx(1.0), pytest.approx(0.6))
