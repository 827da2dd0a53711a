"""`hotseat config` and `hotseat import`: reads, checks and converts configurations."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from hotseat.cli import draw
from hotseat.config import Config, find, load
from hotseat.config.advice import Advice, advice
from hotseat.config.load import places
from hotseat.config.show import as_data
from hotseat.config.show import show as as_yaml
from hotseat.errors import HotseatError, NotFound, Refused, UsageError

PLATFORM_DEADLINE = 5.0
"""Seconds in which the platforms may say what they have; a check must not wait for one that hangs."""


def check(file: Path | None, *, offline: bool, as_json: bool) -> None:
    path = file or find()
    loaded = load(path)
    found = advice(loaded)
    if not offline:
        found += asyncio.run(_missing(loaded))
    place = places(path.read_text(), name=str(path))
    warnings = [_told(item, *place(item.at)) for item in found]
    if as_json:
        data = {"file": str(path), "workloads": list(loaded.workloads), "warnings": warnings}
        click.echo(json.dumps(data))
        return
    for warning in warnings:
        click.echo(f"{warning['place']}: warning: {warning['path']}: {warning['message']}")
    tail = f", {len(warnings)} warnings" if warnings else ""
    click.echo(f"{path}: {len(loaded.workloads)} workloads, no mistakes{tail}")


def show(file: Path | None, *, secrets: bool, as_json: bool) -> None:
    loaded = load(file or find())
    click.echo(json.dumps(as_data(loaded, secrets=secrets)) if as_json else as_yaml(loaded, secrets=secrets).rstrip())


def convert(file: Path, *, output: Path | None, as_json: bool) -> int:
    """The exit code: 1 if something was left out."""
    from hotseat.config import parse
    from hotseat.config.importing.llama_swap import convert as run

    try:
        text = file.read_text()
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {file}", hint="name llama-swap's config.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}", hint="it must be a readable UTF-8 text file") from error
    made = run(text, env=os.environ, name=str(file))
    parse(made.text, name="the converted file")
    if output is not None:
        try:
            # Values of environment variables stand in it, and some are secrets.
            with open(os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
                stream.write(made.text)
        except FileExistsError as error:
            hint = "name another, or move it away"
            raise Refused(f"{output} is there already", rule="nothing is overwritten", hint=hint) from error
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}", hint="name another place") from error
    notes = [{"where": note.where, "message": note.message} for note in made.notes]
    if as_json:
        summary = {"workloads": list(made.workloads), "left_out": list(made.left_out), "notes": notes}
        click.echo(json.dumps({**summary, "file": str(output) if output else None, "text": made.text}))
        return int(bool(made.left_out))
    if output is None:
        click.echo(made.text, nl=False)
    for note in made.notes:
        draw.remark(f"{note.where}: {note.message}")
    left = f", {len(made.left_out)} left out: {', '.join(made.left_out)}" if made.left_out else ""
    draw.remark(f"{len(made.workloads)} workloads, {len(made.notes)} remarks{left}")
    return int(bool(made.left_out))


def _told(item: Advice, place: str, path: str) -> dict[str, Any]:
    return {"place": place, "path": path, "message": item.message}


async def _missing(config: Config) -> list[Advice]:
    """Images and containers that are not there, of the platforms that answer in time."""
    from hotseat.platforms.docker import DockerPlatform
    from hotseat.platforms.podman import PodmanPlatform

    found: list[Advice] = []
    used = {workload.platform for workload in config.workloads.values()}
    for kind in (DockerPlatform, PodmanPlatform):
        if kind.name not in used:
            continue
        platform = kind()
        try:
            async with asyncio.timeout(PLATFORM_DEADLINE):
                for name, workload in config.workloads.items():
                    if workload.platform != kind.name:
                        continue
                    if workload.image is not None:
                        if not await platform.has_image(workload.image):
                            said = f"is not on this host: {kind.name} pull {workload.image}"
                            found.append(Advice(at=("workloads", name, "image"), message=said))
                        continue
                    try:
                        await platform.inspect(workload.container or name)
                    except NotFound:
                        said = f"there is no {kind.name} container {workload.container} now"
                        found.append(Advice(at=("workloads", name, "container"), message=said))
        except (HotseatError, TimeoutError) as error:
            why = error.message if isinstance(error, HotseatError) else "no answer in time"
            draw.remark(f"images and containers of {kind.name} were not looked for: {why}")
        finally:
            await platform.aclose()
    return found
