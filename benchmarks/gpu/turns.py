"""Two engines that may not sit together take turns through the gateway; all answers are as if undisturbed."""

from __future__ import annotations

import signal
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines import Engine
from http_client import Stream, get
from lab import Lab

from hotseat.swap.records import load_report

GATEWAY = 8700


def configuration(
    lab: Lab, engines: list[Engine], *, cap: int, directory: Path, max_wait: str = "120s", min_stay: str = "0s",
    linger: str = "0s", context: str = "restore",
) -> Path:  # fmt: skip
    lines = [
        f"gateway: {{host: 127.0.0.1, port: {GATEWAY}}}",
        f"control: {directory}/control.sock",
        f"state: {directory}/state",
        f"devices: {{0: {{cap: {cap}}}}}",
        f"defaults: {{max_wait: {max_wait}, min_stay: {min_stay}, linger: {linger}, context: {context}, "
        f"health_timeout: 60s}}",
        "workloads:",
    ]
    for e in engines:
        lines.append(f"  {e.name}: {{platform: podman, models: [{e.model}], url: 'http://127.0.0.1:{e.port}'}}")
    path = directory / "hotseat.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    lab.environ |= {"HOTSEAT_CONTROL": f"{directory}/control.sock", "HOTSEAT_STATE": f"{directory}/state"}
    return path


@contextmanager
def daemon(lab: Lab, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (lab.out / f"up-{lab.section_name}.txt").open("wb") as log:
        process = subprocess.Popen([*lab.hotseat, "up", "-c", str(config)], stdout=log, stderr=log, env=lab.environ)
        try:
            lab.wait("gateway healthy", lambda: get(GATEWAY, "/health") == 200, deadline=60)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                lab.check("the daemon ends within 60 s of SIGTERM", False)
                process.kill()
                process.wait()


def rows(lab: Lab) -> dict[str, dict]:
    return {row["name"]: row for row in lab.cli("ps")}


def take_turns(
    lab: Lab, engines: list[Engine], reference: dict[str, object], *, prompt, tokens: int, cycles: int
) -> None:
    """`reference`: engine name -> (text, fingerprint). Records times, checks everything."""
    waits: dict[str, list[float]] = {e.name: [] for e in engines}
    cached: dict[str, list[object]] = {e.name: [] for e in engines}
    for cycle in range(cycles):
        for sitting in engines:
            others = [e for e in engines if e is not sitting]
            before = rows(lab)
            answer = sitting.ask(prompt, tokens=tokens, port=GATEWAY)
            if cycle or sitting is not engines[0]:
                waits[sitting.name].append(round(answer.seconds, 3))
            cached[sitting.name].append(answer.cached_tokens)
            got = (answer.text, answer.fingerprint)
            lab.check(f"{sitting.name} cycle {cycle}: answer identical", got == reference[sitting.name], got)
            after = rows(lab)
            lab.check(f"{sitting.name} is seated", after[sitting.name]["state"] == "seated", after[sitting.name])
            for other in others:
                row = after[other.name]
                lab.check(f"{other.name} is parked", row["state"] == "parked", row)
                lab.check(f"{other.name} holds 0 bytes of the GPU", row["gpu_bytes"] == 0, row)
                held = lab.used_by(set(row["pids"]))
                lab.check(f"the device lists none of {other.name}'s processes", held == 0, held)
                lab.check(f"podman: {other.name} Paused", other.paused(lab), other.status(lab))
            if before[sitting.name]["state"] == "seated":
                same = before[sitting.name]["gpu_bytes"] == after[sitting.name]["gpu_bytes"]
                lab.check(f"{sitting.name}'s memory is untouched", same, (before, after))
    lab.record("answer_after_swap_s", {n: {"median": statistics.median(w), "all": w} for n, w in waits.items() if w})
    lab.record("cached_tokens", cached)
    lab.record("podman_ps", {e.name: e.status(lab) for e in engines})


def frozen_mid_answer(lab: Lab, first: Engine, second: Engine, *, prompt, tokens: int, undisturbed: str, short) -> None:
    """`first` is frozen in the middle of a stream because `second` is asked; then goes on to the very same end."""
    stream = Stream(GATEWAY, first.model, prompt, tokens=tokens, mark=max(8, tokens // 8), **first.extra)
    if not stream.reached.wait(120):
        raise RuntimeError(f"stream of {first.name}: {stream.count} tokens in 120 s {stream.error}")
    at = stream.count
    second.ask(short, tokens=4, port=GATEWAY)
    here = rows(lab)
    lab.check("the answer was not over when its engine lost the seat", at < tokens, at)
    text = stream.join(deadline=240)
    lab.check("stream identical to the undisturbed one", text == undisturbed, (len(text), len(undisturbed)))
    lab.record("mid_answer", {"tokens_before_freeze": at, "tokens": stream.count,
                              "longest_gap_s": round(stream.longest_gap, 3),
                              "states_while_frozen": {n: r["state"] for n, r in here.items()}})  # fmt: skip


def swap_medians(state: Path, *, since: float = 0.0) -> dict[str, object]:
    """Median milliseconds of every phase and part, per workload and direction: from hotseat's own journal.

    `since`: seconds since the epoch, to leave out what came before.
    """
    with sqlite3.connect(f"file:{state}/journal.db?mode=ro", uri=True) as journal:
        found = [load_report(row[0]) for row in journal.execute("SELECT report FROM history ORDER BY id")]
    reports = [report for report in found if report.started_at >= since]
    out: dict[str, object] = {}
    for name, direction in sorted({(r.workload, r.direction) for r in reports if r.phases}):
        mine = [r for r in reports if (r.workload, r.direction) == (name, direction) and r.phases]
        phases: dict[str, list[float]] = {}
        parts: dict[str, list[float]] = {}
        for report in mine:
            shares: dict[str, float] = {}
            for phase in report.phases:
                phases.setdefault(f"{phase.name} ({phase.part})", []).append(phase.seconds * 1e3)
                shares[phase.part] = shares.get(phase.part, 0) + phase.seconds * 1e3
            for part, milliseconds in shares.items():
                parts.setdefault(part, []).append(milliseconds)
        gpu_bytes = statistics.median(sum(r.gpu_bytes.values()) for r in mine)
        seconds = statistics.median(r.seconds for r in mine)
        out[f"{name} {direction}"] = {
            "swaps": len(mine),
            "seconds": round(seconds, 3),
            "gpu_bytes": gpu_bytes,
            "GB_per_s": round(gpu_bytes / seconds / 1e9, 2),
            "threads": mine[-1].threads,
            "cuda_processes": mine[-1].cuda_processes,
            "part_ms": {n: round(statistics.median(v), 2) for n, v in parts.items()},
            "phase_ms": {n: round(statistics.median(v), 2) for n, v in phases.items()},
        }
    return out


def leaks(pids: list[int]) -> dict[str, int]:
    """File descriptors, threads and resident bytes of these processes together."""
    total = {"fds": 0, "threads": 0, "rss": 0}
    for pid in pids:
        root = Path(f"/proc/{pid}")
        total["fds"] += len(list((root / "fd").iterdir()))
        status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines())
        total["threads"] += int(status["Threads"])
        total["rss"] += int(status["VmRSS"].split()[0]) * 1024
    return total


def tree(root: int) -> list[int]:
    """`root` and its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue += parents.get(found[-1], [])
    return found


def soak(lab: Lab, process: int, engines: list[Engine], reference, *, prompt, tokens: int, swaps: int):
    """`swaps` swaps in a row; nothing may grow."""
    for e in engines:  # each has been in and out once: pools and caches are warm
        e.ask(prompt, tokens=tokens, port=GATEWAY)
    start, memory = leaks(tree(process)), host_available()
    started, wrong = time.monotonic(), 0
    for n in range(swaps):
        e = engines[n % len(engines)]
        answer = e.ask(prompt, tokens=tokens, port=GATEWAY)
        wrong += (answer.text, answer.fingerprint) != reference[e.name]
    seconds = time.monotonic() - started
    end = leaks(tree(process))
    lab.check(f"{swaps} swaps: every answer identical", wrong == 0, wrong)
    lab.check("no file descriptor leaked", end["fds"] <= start["fds"] + 2, (start, end))
    lab.check("no thread leaked", end["threads"] <= start["threads"] + 2, (start, end))
    lab.check("host memory did not grow", host_available() > memory - (256 << 20), (memory, host_available()))
    lab.record("soak", {"swaps": swaps, "seconds": round(seconds, 1), "wrong_answers": wrong, "daemon_before": start,
                        "daemon_after": end, "host_available_before": memory,
                        "host_available_after": host_available()})  # fmt: skip


def host_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no MemAvailable in /proc/meminfo")
