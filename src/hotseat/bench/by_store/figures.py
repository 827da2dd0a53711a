"""What `hotseat bench store` finds, as records, JSON and Markdown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from hotseat.bench.by_store.moves import Move
from hotseat.config.units import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One direction of one case over all its cycles. Seconds: median, shortest, longest."""

    case: str
    direction: str
    """ "out", "in" or "out and in"."""
    bytes: int
    """That the process holds, or those of it that count: not zero."""
    seconds: float
    low: float
    high: float
    pinned: float
    """Seconds in which as many bytes are copied between device and pinned memory."""
    steps: dict[str, float]
    """Medians."""
    parts: dict[str, float] = field(default_factory=dict)
    """Medians, of what the store says of its steps."""

    @property
    def of_pinned(self) -> float:
        """1: as quick as the copy alone."""
        return self.pinned / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure of a case that is no time."""

    case: str
    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    command: str
    date: str
    machine: dict[str, str]
    emulated: bool
    bytes: int
    rates: dict[str, float]
    """Of a pinned copy, bytes a second: "to_device", "to_host"."""
    figures: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    checks: int
    wrong: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "date": self.date,
            "machine": self.machine,
            "emulated": self.emulated,
            "bytes": self.bytes,
            "pinned_bytes_per_s": self.rates,
            "figures": [{**asdict(figure), "of_pinned": round(figure.of_pinned, 3)} for figure in self.figures],
            "facts": [asdict(fact) for fact in self.facts],
            "checks": self.checks,
            "wrong": list(self.wrong),
        }


IN, OUT = "to_device", "to_host"
_STEPS = {
    "out": ("take", "lock", "checkpoint", "move_out"),
    "in": ("restore", "move_in", "unlock", "give"),
}


def of_moves(case: str, moves: Sequence[Move], *, nbytes: int, rates: dict[str, float]) -> list[Figure]:
    """Both directions; at least one move."""
    ways = (("out", OUT, [move.out for move in moves]), ("in", IN, [move.into for move in moves]))
    return [
        figure(
            case,
            direction,
            times,
            nbytes=nbytes,
            pinned=nbytes / rates[rate],
            steps={
                name: median(move.steps[name] for move in moves) for name in _STEPS[direction] if name in moves[0].steps
            },
            parts={
                name: median(move.parts.get(name, 0.0) for move in moves)
                for name in moves[0].parts
                if name.split(":")[0] in _STEPS[direction]
            },
        )
        for direction, rate, times in ways
    ]


def figure(
    case: str,
    direction: str,
    times: Sequence[float],
    *,
    nbytes: int,
    pinned: float,
    steps: dict[str, float],
    parts: dict[str, float] | None = None,
) -> Figure:
    return Figure(
        case=case,
        direction=direction,
        bytes=nbytes,
        seconds=median(times),
        low=min(times),
        high=max(times),
        pinned=pinned,
        steps=steps,
        parts=parts or {},
    )


HEADINGS = ["CASE", "WAY", "BYTES", "SECONDS", "RANGE", "GB/s", "OF PINNED"]


def rows(result: Result) -> list[list[str]]:
    return [
        [
            one.case,
            one.direction,
            format_size(one.bytes),
            f"{one.seconds:.3f}",
            f"{one.low:.3f}-{one.high:.3f}",
            f"{one.bytes / one.seconds / 1e9:.2f}",
            f"{one.of_pinned:.0%}",
        ]
        for one in result.figures
    ]


def sentences(result: Result) -> list[str]:
    """Below the table."""
    into, out = result.rates[IN] / 1e9, result.rates[OUT] / 1e9
    lines = [f"pinned copy: {into:.2f} GB/s to the device, {out:.2f} GB/s to the host"]
    lines += [f"{fact.case}: {fact.name} {fact.value:g}" for fact in result.facts]
    lines.append(f"checks: {result.checks - len(result.wrong)} of {result.checks} hold")
    lines += [f"WRONG: {what}" for what in result.wrong]
    if result.emulated:
        lines.append("emulated driver: a test bench, no figure from it says anything about a GPU")
    return lines


def _ms(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value * 1000:.1f}" for name, value in seconds.items())


def markdown(result: Result, *, plot: str = "") -> str:
    """`plot`: the name of its picture, or none."""
    table = ["| " + " | ".join(row) + " |" for row in rows(result)]
    steps = [
        f"| {one.case} | {one.direction} | " + _ms(one.steps) + " | " + _ms(one.parts) + " |"
        for one in result.figures
        if one.steps
    ]
    picture = [f"![seconds of each case, with those of the pinned copy]({plot})", ""] if plot else []
    return "\n".join(
        [
            f"# hotseat bench store, {format_size(result.bytes)}",
            "",
            f"{result.date}, by `{result.command}`. Medians.",
            "",
            *(f"- {line}" for line in sentences(result)),
            "",
            *picture,
            "| " + " | ".join(heading.lower() for heading in HEADINGS) + " |",
            "|" + "---|" * len(HEADINGS),
            *table,
            "",
            "| case | way | steps, ms; checkpoint is beside move_out, restore beside move_in | within the store, ms |",
            "|---|---|---|---|",
            *steps,
            "",
            "Machine:",
            "",
            *(f"- {name}: {value}" for name, value in result.machine.items()),
            "",
        ]
    )
