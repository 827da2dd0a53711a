"""`hotseat demo`: sets the stage, has the undisturbed run, plays the scenes, shows who sits where and what it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from textwrap import shorten

import aiohttp
import click

from hotseat.cli import draw
from hotseat.cli.access.choose import open_access
from hotseat.cli.story import curtain, plot
from hotseat.cli.story.containers import containers
from hotseat.cli.story.daemon import daemon
from hotseat.cli.story.engine import container_engine
from hotseat.cli.story.plot import Step, Told, Undisturbed
from hotseat.cli.story.scenes import Scenes
from hotseat.cli.story.stage import Stage, alone, set_stage
from hotseat.cli.story.store import snapshot_store
from hotseat.cli.story.talk import Talk
from hotseat.cli.view import Row
from hotseat.demo.launch import running
from hotseat.errors import HotseatError
from hotseat.swap.journal import Journal
from hotseat.words import SwapReport

NAMES = ("ada", "bob")


async def run_demo(
    *,
    platform: str,
    emulated: bool,
    weights: str | None,
    kv: str | None,
    store: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """0 if every step was as told, else 1."""
    tell: Callable[[str], None] = (lambda _: None) if as_json else click.echo
    told = Told()
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(container_engine(platform, tell=tell))
        stage = await stack.enter_async_context(
            set_stage(platform=platform, emulated=emulated, weights=weights, kv=kv, store=store, names=NAMES)
        )
        if engine is not None:
            stage = replace(stage, environment={**stage.environment, **engine.environment})
        tell(curtain.opening(stage))
        began = time.monotonic()
        rows: list[Row] = []
        swaps: list[SwapReport] = []
        hint = ""
        try:
            async with aiohttp.ClientSession() as session, AsyncExitStack() as play:
                expected = await undisturbed(stage, session, tell=tell)
                await play.enter_async_context(containers(stage, engine))
                await play.enter_async_context(snapshot_store(stage))
                await play.enter_async_context(daemon(stage, verbose=verbose))
                access = await play.enter_async_context(open_access(control=str(stage.control), no_daemon=False))
                scenes = Scenes(
                    stage=stage,
                    engine=engine,
                    talk=Talk(session, base_url=stage.gateway),
                    access=access,
                    expected=expected,
                    tell=lambda step: tell(curtain.line(step)),
                    told=told,
                )
                try:
                    await scenes.play()
                finally:
                    rows += await access.rows()
                    swaps += history(stage, rows)
        except HotseatError as error:
            told.steps.append(Step(name="the story breaks off", ok=False, detail=error.message))
            tell(curtain.line(told.steps[-1]))
            hint = error.hint
        seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(curtain.data(stage, told, swaps, rows, seconds=seconds), indent=2))
    else:
        curtain.fall(stage, told, swaps, rows, seconds=seconds)
        if hint:
            draw.remark(f" hint: {hint}")
    return 0 if told.ok else 1


async def undisturbed(
    stage: Stage, session: aiohttp.ClientSession, *, tell: Callable[[str], None]
) -> dict[str, Undisturbed]:
    """Each engine alone on the device, asked what it will be asked in the story: this is what must come of it."""
    main, _ = stage.engines
    out = {}
    for name, spec in stage.engines.items():
        async with running(alone(spec), environment=stage.device.environment) as engine:
            out[name] = await plot.undisturbed(Talk(session, base_url=engine.url), name, main=name == main)
        tell(curtain.line(Step(name=f"{name} alone", ok=True, detail=f"says {shorten(out[name].first.text, 70)!r}")))
    return out


def history(stage: Stage, rows: list[Row]) -> list[SwapReport]:
    """Every swap of the stage's workloads, in order, as the journal has them."""
    with closing(Journal(directory=stage.directory / "state")) as journal:
        found = [report for row in rows for report in journal.reports(key=row.container)]
    return sorted(found, key=lambda report: report.started_at)
