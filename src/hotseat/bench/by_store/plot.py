"""The figures as a picture: one bar a figure, and a mark where the pinned copy of as many bytes would end. Pure."""

from __future__ import annotations

from html import escape

from hotseat.bench.by_store.figures import Result

ROW, LABEL, BAR, FIGURE, TOP = 22, 330, 460, 110, 44
"""Pixels: height of a row; widths of its label, its longest bar and the figure behind it; above the first row."""
COLOURS = {"out": "#b45309", "in": "#1d4ed8", "out and in": "#6d28d9"}


def svg(result: Result) -> str:
    """A whole SVG file, readable on light and dark. The bars' scale is linear and begins at 0."""
    longest = max((max(one.seconds, one.pinned) for one in result.figures), default=1.0)
    width, height = LABEL + BAR + FIGURE, TOP + ROW * len(result.figures) + 12
    note = "; emulated driver, says nothing about a GPU" if result.emulated else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(result.machine.get("devices", ""))}{escape(note)}</text>',
        '<text x="10" y="36" fill="#555">seconds, medians; the black line: a pinned copy of the same bytes</text>',
    ]
    for number, one in enumerate(result.figures):
        y = TOP + ROW * number
        bar, mark = BAR * one.seconds / longest, LABEL + BAR * one.pinned / longest
        middle = y + ROW // 2 + 5
        parts += [
            f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(f"{one.case}, {one.direction}")}</text>',
            f'<rect x="{LABEL}" y="{y + 4}" width="{bar:.1f}" height="{ROW - 8}" fill="{COLOURS[one.direction]}"/>',
            f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y + 1}" y2="{y + ROW - 1}" stroke="#000" stroke-width="2"/>',
            f'<text x="{LABEL + max(bar, mark - LABEL) + 6:.1f}" y="{middle}">{one.seconds:.3f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
