"""A daemon's snapshot as a picture for the terminal. Pure: data in, something that rich draws out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hotseat.cli import units
from hotseat.cli.draw import STYLES

COLOURS = ("green", "blue", "yellow", "magenta", "cyan", "red")
FILLS = "█▓▒"
"""Beside the colours, for those who see none."""
NAME_WIDTH = 28
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    heading: str
    cell: Callable[[_Row], Text]
    least: int = 0
    """Shown on terminals of at least so many columns."""
    right: bool = False


def panorama(picture: Mapping[str, Any], *, width: int, trouble: str = "", hint: str = "") -> RenderableType:
    names = sorted(row["name"] for row in picture["workloads"])
    place = {name: number for number, name in enumerate(names)}
    parts: list[RenderableType] = [_head(picture, width=width, trouble=trouble, hint=hint)]
    for device in picture["devices"]:
        parts += [_device(device, width=width), _bar(device, place, width=width), _legend(device, place)]
    parts += [Text(""), _table(picture["workloads"], width=width)]
    return Group(*parts)


def _head(picture: Mapping[str, Any], *, width: int, trouble: str, hint: str) -> Text:
    head = Text.assemble(("hotseat", "bold"), f" {picture['version']}  ")
    head.append(time.strftime("%H:%M:%S", time.localtime(picture["at"])))
    if picture["emulated"]:
        head.append("  EMULATED: no figure counts", style="yellow")
    if picture["closing"]:
        head.append("  shutting down", style="yellow")
    if trouble:
        head.append(f"  {_plain(trouble)}", style="bold red")
    if hint:
        head.append(f"  {hint}", style="dim")
    head.truncate(width, overflow="ellipsis")
    return head


def _device(device: Mapping[str, Any], *, width: int) -> Text:
    line = Text.assemble((f"GPU {device['index']}", "bold"), f" {_plain(device['name'])}  ")
    line.append(f"{units.amount(device['used_bytes'])} of {units.size(device['total_bytes'])}")
    line.append(f", {units.amount(device['free_bytes'])} free", style="dim")
    line.truncate(width, overflow="ellipsis")
    return line


def _bar(device: Mapping[str, Any], place: Mapping[str, int], *, width: int) -> Text:
    cells = max(10, min(width, 100))
    total = max(1, device["total_bytes"])
    bar = Text()
    drawn, held = 0, 0
    parts = [(name, count) for name, count in sorted(device["held"].items())]
    for name, count in [*parts, (None, device["foreign_bytes"])]:
        held += count
        end = round(cells * min(held, total) / total)
        number = place.get(name or "", 0)
        fill, style = ("▚", "dim") if name is None else (FILLS[number % len(FILLS)], COLOURS[number % len(COLOURS)])
        bar.append(fill * max(0, end - drawn), style=style)
        drawn = max(drawn, end)
    bar.append("░" * (cells - drawn), style="dim")
    return bar


def _legend(device: Mapping[str, Any], place: Mapping[str, int]) -> Text:
    legend = Text()
    for name, count in sorted(device["held"].items()):
        number = place.get(name, 0)
        legend.append(f"{FILLS[number % len(FILLS)]} ", style=COLOURS[number % len(COLOURS)])
        legend.append(f"{_plain(name)} {units.size(count)}   ")
    if device["foreign_bytes"]:
        legend.append(f"▚ others {units.size(device['foreign_bytes'])}", style="dim")
    return legend


def _table(rows: list[dict[str, Any]], *, width: int) -> RenderableType:
    if not rows:
        return Text("no workloads", style="dim")
    shown = [column for column in COLUMNS if column.least <= width]
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for column in shown:
        wraps = column.heading == "WHY"
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
            max_width=max(8, min(NAME_WIDTH, width // 4)) if column.heading == "NAME" else None,
            min_width=min(12, width // 4) if column.heading == "STATE" else None,
        )
    for row in sorted(rows, key=_order):
        table.add_row(*(column.cell(row) for column in shown))
    return table


def _order(row: _Row) -> tuple[bool, int, str]:
    return (row["state"] != "seated", -row["waiting"], row["name"])


def _gpu(row: _Row) -> Text:
    needs = row["parked_gpu_bytes"]
    if needs and not row["gpu_bytes"]:
        return Text(f"(needs {units.size(needs)})", style="dim")
    return Text(units.size(row["gpu_bytes"]))


def _waiting(row: _Row) -> Text:
    if not row["waiting"]:
        return Text("-")
    oldest = row.get("oldest_wait", 0.0)
    return Text(f"{row['waiting']} ({units.duration(oldest)})" if oldest else str(row["waiting"]), style="yellow")


def _last(row: _Row) -> Text:
    last = row.get("last_swap")
    if not last:
        return Text("-")
    what = "start" if last["kind"] == "start" else last["direction"]
    return Text(f"{what} {units.duration(last['seconds'])}")


def _rate(name: str) -> Callable[[_Row], Text]:
    return lambda row: Text(f"{row[name]:.1f}" if row.get(name) else "-")


def _why(row: _Row) -> Text:
    doing = row.get("doing")
    parts = [f"{doing['kind']} {doing['step']}".strip() if doing else "", row.get("why") or row.get("note") or ""]
    return Text(_plain("; ".join(part for part in parts if part)), style="dim")


def _plain(text: str) -> str:
    """Names and notes may come from anywhere; a terminal obeys control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)


COLUMNS = (
    Column(heading="NAME", cell=lambda row: Text(_plain(row["name"]))),
    Column(heading="STATE", cell=lambda row: Text(row["state"], style=STYLES.get(row["state"], ""))),
    Column(heading="GPU", cell=_gpu, right=True),
    Column(heading="HOST", cell=lambda row: Text(units.size(row["host_bytes"])), least=90, right=True),
    Column(heading="WAITING", cell=_waiting, least=56, right=True),
    Column(heading="RUNNING", cell=lambda row: Text(str(row["in_flight"] or "-")), least=66, right=True),
    Column(heading="REQ/S", cell=_rate("requests_per_second"), least=76, right=True),
    Column(heading="TOKENS/S", cell=_rate("tokens_per_second"), least=110, right=True),
    Column(heading="LAST SWAP", cell=_last, least=100, right=True),
    Column(heading="WHY", cell=_why, least=120),
)
