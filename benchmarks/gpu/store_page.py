"""What a run of engines_store.py found, as a Markdown page. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

MIB = 1 << 20
GB = 1e9


def middle(rows: Sequence[Mapping[str, Any]], key: str, form: str = ".3f") -> str:
    """The median, and how far the others lie apart."""
    values = [row[key] for row in rows if isinstance(row.get(key), int | float)]
    if not values:
        return "-"
    text = format(statistics.median(values), form)
    return text if len(values) == 1 else f"{text} ({min(values):{form}}-{max(values):{form}})"


def of_way(way: str, rows: Sequence[Mapping[str, Any]], base: Mapping[str, int]) -> str:
    """A row of the table. `base`: bytes on the device without the engine, by the part that its ways belong to."""
    part = "interposed" if way.startswith("store") else "plain"
    left = [{"left": max(0, row["left"] - base.get(part, 0)) / MIB} for row in rows if "left" in row]
    cached = sorted({str(row.get("cached")) for row in rows if "same" in row})
    same = [row["same"] for row in rows if "same" in row]
    said = f"{sum(same)} of {len(same)}" if same else "-"
    cells = [way, middle(rows, "out"), middle(rows, "in"), middle(left, "left", ".0f"), middle(rows, "prompt_s"),
             ", ".join(cached).replace("None", "-") or "-", said, moved(rows)]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def moved(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of the last way out by bare steps: what went over the bus, of how much."""
    for row in reversed(rows):
        if found := row.get("out_detail", {}).get("moved"):
            return f"{found['copied'] / GB:.2f} of {found['total'] / GB:.2f}, {found['zero'] / GB:.2f} zero"
    return "-"


def engine(name: str, found: Mapping[str, Any]) -> list[str]:
    plain, inside = found.get("plain", {}), found.get("interposed", {})
    base = {part: facts["without_it"] for part, facts in (("plain", plain), ("interposed", inside))
            if "without_it" in facts}  # fmt: skip
    rows = [(label, key) for label, key in (
        ("cold start s", "cold_start_s"), ("tokens/s", "tokens_per_s"),
        ("tokens/s after the swaps", "tokens_per_s_after"),
        ("prompt of 1,500 tokens, not cached, s", "prompt_not_cached_s"), ("the same, cached, s", "prompt_again_s"),
        ("tokens filled into the KV cache", "filled_tokens"),
    ) if key in plain or key in inside]  # fmt: skip
    facts = [f"| {label} | {number(plain.get(key))} | {number(inside.get(key))} |" for label, key in rows]
    ways = [of_way(way, rows, base) for way, rows in found.get("ways", {}).items()]
    return [
        f"## {name}",
        "",
        "| | plain | with the interposer |",
        "|---|---|---|",
        *facts,
        "",
        "| way | out s | in s | left on the GPU MiB | prompt of 1,500 tokens afterwards s | cached tokens "
        "| answers identical | copied out GB |",
        "|---|---|---|---|---|---|---|---|",
        *ways,
        "",
    ]


def number(value: object) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def page(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    wrong = results.get("wrong", [])
    lines = [
        "# Engines in Podman containers, swapped by the snapshot store and by other ways",
        "",
        f"{machine.get('gpu')}, driver {machine.get('driver')}, {machine.get('date')}; one run:",
        f"`{machine.get('command')}`.",
        "Medians (least-most). Driver and store with the context restored: hotseat's own `park` and `seat` of the",
        "container, as their reports count it. Context kept: the store's steps alone, for all processes at once. What",
        "the store's own process holds of the device is not counted as left.",
        "",
    ]
    for name, found in results["sections"].items():
        if "ways" in found:
            lines += engine(name, found)
    checks = results.get("checks", {})
    lines.append(f"Checks: {checks.get('passed')} of {checks.get('of')} hold.")
    lines += [f"- wrong: {what[:300]}" for what in wrong]
    return "\n".join(lines) + "\n"
