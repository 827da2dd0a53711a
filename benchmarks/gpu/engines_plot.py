"""What runs of engines_store.py found, as a picture: two bars a way, out and in, on a logarithmic scale. Pure.

python3 benchmarks/gpu/engines_plot.py results.json [MORE.json ...] > engines.svg
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROW, LABEL, BAR, FIGURE, TOP = 17, 330, 460, 70, 50
"""Pixels: height of a bar's row; widths of a label, the longest bar and the figure behind it; above the first row."""
LEAST, MOST = 0.01, 100.0
"""Seconds at the ends of the scale."""
COLOURS = {"out": "#b45309", "in": "#1d4ed8"}


def svg(runs: Sequence[Mapping[str, Any]]) -> str:
    """A whole SVG file. `runs`: as results.json holds them."""
    body: list[str] = []
    y = TOP
    for name, ways in ((name, found["ways"]) for run in runs for name, found in run["sections"].items()):
        body.append(f'<text x="10" y="{y + 14}" font-weight="bold">{escape(name)}</text>')
        y += ROW + 4
        for way, rows in ways.items():
            bars = list(medians(rows))
            if not bars:
                continue
            middle = y + ROW * len(bars) // 2 + 4
            body.append(f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(way)}</text>')
            for direction, seconds in bars:
                long = BAR * place(seconds)
                fill = COLOURS[direction]
                body += [
                    f'<rect x="{LABEL}" y="{y + 2}" width="{long:.1f}" height="{ROW - 4}" fill="{fill}"/>',
                    f'<text x="{LABEL + long + 6:.1f}" y="{y + 13}" fill="{fill}">{seconds:.3f}</text>',
                ]
                y += ROW
            y += 5
        y += 8
    lines = [
        f'<line x1="{at}" x2="{at}" y1="{TOP - 8}" y2="{y}" stroke="#ddd"/>'
        f'<text x="{at}" y="{TOP - 12}" text-anchor="middle" fill="#555">{mark:g}</text>'
        for mark in (0.01, 0.1, 1.0, 10.0, 100.0)
        for at in [round(LABEL + BAR * place(mark), 1)]
    ]
    machine = runs[0]["machine"]
    title = (
        f"{machine['gpu']}, driver {machine['driver']}, {machine['date']}: seconds out (brown) and in (blue), medians"
    )
    width = LABEL + BAR + FIGURE
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" viewBox="0 0 {width} {y + 10}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(title)}</text>',
        *lines,
        *body,
        "</svg>",
        "",
    ])  # fmt: skip


def medians(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    for direction in COLOURS:
        values = [row[direction] for row in rows if direction in row]
        if values:
            yield direction, statistics.median(values)


def place(seconds: float) -> float:
    """0 to 1 on the scale."""
    share = math.log(max(seconds, LEAST) / LEAST) / math.log(MOST / LEAST)
    return min(share, 1.0)


if __name__ == "__main__":
    print(svg([json.loads(Path(name).read_text()) for name in sys.argv[1:]]), end="")
