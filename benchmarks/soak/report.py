"""The report of a soak: markdown for people, JSON for scripts."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path

from tally import Tally


def write(tally: Tally, args: argparse.Namespace) -> Path:
    args.out.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y-%m-%d')}-soak"
    minutes = (time.monotonic() - tally.began) / 60
    by_pid: dict[int, list[dict[str, int]]] = {}
    for sample in tally.samples:
        by_pid.setdefault(sample["pid"], []).append(sample)
    longest = max(by_pid.values(), key=len, default=[])
    data = {
        "command": shlex.join(["benchmarks/soak/run.py", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        "minutes": round(minutes, 1),
        "answers": dict(tally.answers),
        "sent_again": dict(tally.excused),
        "disturbances": dict(tally.disturbances),
        "answers_after_a_swap": tally.swapped,
        "waits_s": {f"p{q * 100:g}": round(tally.waited(q), 3) for q in (0.5, 0.9, 0.99)},
        "longest_life_of_a_daemon": longest,
        "notes": tally.notes,
        "wrong": tally.wrong,
    }
    (args.out / f"{stem}.json").write_text(json.dumps(data, indent=1) + "\n")
    lines = [
        f"# Soak, {time.strftime('%-d %B %Y')}",
        "",
        f"`{data['command']}` on {data['machine']}; {data['minutes']} minutes. The driver is emulated: nothing "
        "here says anything about a GPU. Every answer was compared with that of an undisturbed twin of its engine.",
        "",
        f"**{sum(tally.answers.values())} requests answered, {len(tally.wrong)} lost, wrong or leaked.**",
        "",
        "| requests | answered as undisturbed |",
        "|---|---|",
        *(f"| {kind} | {count} |" for kind, count in sorted(tally.answers.items())),
        f"| of them after a swap | {tally.swapped} |",
        "",
        "| disturbance | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(tally.disturbances.items())),
        "",
        "| sent again by its client, because | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(tally.excused.items())),
        "",
        "Time to the seat: " + ", ".join(f"p{q * 100:g} {tally.waited(q):.2f} s" for q in (0.5, 0.9, 0.99)) + ".",
        "",
    ]  # fmt: skip
    if longest:
        first, last = longest[min(1, len(longest) - 1)], longest[-1]
        lines += [
            "The daemon that lived longest between two kills:",
            "",
            "| | after 20 s | at its end |",
            "|---|---|---|",
            *(f"| {name} | {first[name]} | {last[name]} |" for name in ("at", "fds", "threads", "rss_kib")),
            "",
        ]
    if tally.wrong:
        lines += ["What was wrong:", "", *(f"- {line}" for line in tally.wrong), ""]
    path = args.out / f"{stem}.md"
    path.write_text("\n".join(lines))
    return path
