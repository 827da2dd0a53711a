"""`hotseat bench store` from end to end on the emulated driver. Its times mean nothing there, its checks do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hotseat.bench.by_store import figures
from hotseat.bench.by_store.cases import CASES, Plan, whole
from hotseat.bench.by_store.figures import Fact, Result, of_moves
from hotseat.bench.by_store.moves import Move
from hotseat.bench.by_store.plot import svg
from hotseat.emulator.node import EmulatedNode

MIB = 1 << 20
WITHIN = 120.0


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    with EmulatedNode.temporary(devices=[72 * MIB], context_bytes=2 * MIB) as node:
        yield {**os.environ, **node.environment()}


async def python(*words: str, environ: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *words), env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WITHIN):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_every_case_runs_and_every_byte_is_right(environ: dict[str, str], tmp_path: Path) -> None:
    stem = tmp_path / "results" / "store"
    sizes = ("--size=20MiB", "--pair=20MiB", "--large=40MiB")
    words = ("-m", "hotseat", "bench", "store", *sizes, "--cycles=2", "--swaps=6", f"--report={stem}", "--json")
    code, out, err = await python(*words, environ=environ)
    assert code == 0, err
    seen = json.loads(out)
    assert (seen["emulated"], seen["wrong"]) == (True, [])
    assert seen["checks"] > 20
    ways = {(figure["case"], figure["direction"]) for figure in seen["figures"]}
    restored = [f"{what} changed, context {how}" for what in ("all", "nothing") for how in ("restored", "kept")]
    restored += [f"nothing changed, large, context {how}" for how in ("restored", "kept")]
    full = [
        f"B in {when} A goes out, device full, context {how}"
        for when in ("while", "after")
        for how in ("restored", "kept")
    ]
    cases = ["driver alone", *restored, "80 % zero, the rest changed"]
    assert ways == {(case, way) for case in cases for way in ("out", "in")} | {
        (case, "out and in") for case in ["A out and B in at once, half changed", *full]
    }
    zero = next(figure for figure in seen["figures"] if figure["case"].startswith("80 %"))
    assert zero["bytes"] == 8 * MIB
    kept = next(figure for figure in seen["figures"] if "kept" in figure["case"] and figure["direction"] == "out")
    assert {"take: gate", "take: device", "take: map", "take: plan", "move_out: copy"} <= kept["parts"].keys()
    (fact,) = seen["facts"]
    assert fact["value"] < 2
    page = stem.with_suffix(".md").read_text()
    assert "emulated driver" in page
    assert "](store.svg)" in page
    assert json.loads(stem.with_suffix(".json").read_text()) == seen
    assert ET.parse(stem.with_suffix(".svg")).getroot().tag.endswith("svg")


async def test_a_device_that_is_too_small_is_refused_before_anything_starts(environ: dict[str, str]) -> None:
    code, _, err = await python("-m", "hotseat", "bench", "store", "--size=60MiB", environ=environ)
    assert code == 4
    assert "--size" in err
    code, _, err = await python("-m", "hotseat", "bench", "store", "--case=none", environ=environ)
    assert code == 2
    assert "fine-tunes" in err


async def test_a_run_that_is_told_to_end_leaves_nothing_behind_and_what_it_found(
    environ: dict[str, str], tmp_path: Path
) -> None:
    stem = tmp_path / "store"
    words = ("-m", "hotseat", "bench", "store", "--size=20MiB", "--case=one", "--case=many", "--swaps=100000")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *words, f"--report={stem}"), env={**environ, "MARK": str(tmp_path)}
    )
    async with asyncio.timeout(WITHIN):
        while not stem.with_suffix(".json").exists():
            assert process.returncode is None
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 143
    cases = {figure["case"] for figure in json.loads(stem.with_suffix(".json").read_text())["figures"]}
    assert "nothing changed, context kept" in cases
    assert not _running_with(str(tmp_path))


def _running_with(word: str) -> list[str]:
    """Pids of processes in whose environment it occurs."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if word.encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_a_byte_that_differs_is_seen(environ: dict[str, str]) -> None:
    script = """
from hotseat.bench.by_store.child import Child
child = Child(6 << 20, 4 << 20)
assert len(child.blocks) == 2
rate = child.rate()
seen = [child.check()]
address, nbytes = child.blocks[1]
child.cuda.call("cuMemsetD8Async", address + nbytes - 1, 250, 1, None)
child.cuda.call("cuStreamSynchronize", None)
seen.append(child.check())
child.fill(0, 500, 1000)
seen.append(child.check())
print(seen, sorted(rate))
"""
    code, out, err = await python("-c", script, environ=environ)
    assert (code, out) == (0, "[0, 1, 0] ['to_device', 'to_host']\n"), err


MOVES = [
    Move(out=out, into=1.0, steps={"take": 0.1, "lock": 0.1, "checkpoint": out, "restore": 0.5, "unlock": 0.1})
    for out in (4.0, 2.0, 8.0)
]
RATES = {"to_device": 2e9, "to_host": 4e9}
RESULT = Result(
    command="hotseat bench store",
    date="2026-01-01",
    machine={"devices": "A <GPU> & more"},
    emulated=False,
    bytes=8 * 10**9,
    rates=RATES,
    figures=tuple(of_moves("a case", MOVES, nbytes=8 * 10**9, rates=RATES)),
    facts=(Fact(case="f", name="n", value=1.5),),
    checks=3,
    wrong=("a byte",),
)


def test_medians_stand_beside_the_pinned_copy_of_the_same_direction() -> None:
    out, into = RESULT.figures
    assert (out.seconds, out.low, out.high, out.pinned, out.of_pinned) == (4.0, 2.0, 8.0, 2.0, 0.5)
    assert (into.seconds, into.pinned, into.of_pinned) == (1.0, 4.0, 4.0)
    assert out.steps == {"take": 0.1, "lock": 0.1, "checkpoint": 4.0}
    assert figures.rows(RESULT)[0] == ["a case", "out", "7.5 GiB", "4.000", "2.000-8.000", "2.00", "50%"]


def test_what_is_wrong_is_said_and_what_is_emulated() -> None:
    assert "checks: 2 of 3 hold" in figures.sentences(RESULT)
    assert "WRONG: a byte" in figures.markdown(RESULT)
    assert "emulated" not in figures.markdown(RESULT)
    assert "emulated" in svg(replace(RESULT, emulated=True))


def test_the_picture_has_a_bar_a_figure_in_proportion() -> None:
    root = ET.fromstring(svg(RESULT))
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(bar.get("width", "0")) for bar in root.iter(f"{space}rect") if bar.get("x")]
    assert bars == [460.0, 115.0]
    assert len(list(root.iter(f"{space}line"))) == 2


@pytest.mark.parametrize(("asked", "whole_bytes"), [(1, 20 * MIB), (59 * MIB, 40 * MIB), (16 << 30, 16380 * MIB)])
def test_a_size_is_ten_parts_of_whole_chunks(asked: int, whole_bytes: int) -> None:
    assert whole(asked) == whole_bytes


def test_the_arena_holds_what_every_case_parks() -> None:
    plan = Plan(bytes=16 << 30, pair=40 << 30, large=100 << 30, cycles=1, swaps=1)
    assert plan.arena(list(CASES)) >= max(
        2 * plan.bytes, 2.5 * plan.pair, plan.large, 0.4 * plan.large, 1.8 * plan.tune
    )
    assert plan.arena(["many"]) >= 3 * plan.small
    assert plan.device(list(CASES), context=1) == 100 * (1 << 30) + 1
