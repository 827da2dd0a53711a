"""Reads facts about one process from /proc; no driver call, so it is safe on anything, frozen or not."""

from __future__ import annotations

from pathlib import Path

from hotseat.cli.doctor.facts import ProcessFact
from hotseat.cli.doctor.gather_machine import read
from hotseat.gpu import preload
from hotseat.gpu.inspect import inspect_process
from hotseat.linux import proc
from hotseat.words import ProcessRef


def process(
    ref: ProcessRef, *, gpu_bytes: int = 0, held_bytes: int | None = None, root: Path = Path("/")
) -> ProcessFact | None:
    """None if it is gone."""
    status = proc.read(f"{root / 'proc'}/{ref.pid}/status")
    hints = inspect_process(ref, proc=root / "proc")
    if not status or hints is None:
        return None
    seen = proc.parse_status(status)
    return ProcessFact(
        pid=ref.pid,
        command=seen.name,
        threads=seen.threads,
        state=seen.state,
        uses_gpu=bool(gpu_bytes) or hints.uses_gpu,
        libcuda=hints.libcuda or None,
        managed_bytes=hints.managed_bytes or 0,
        tracer=seen.tracer,
        tracer_command=(read(root / "proc" / str(seen.tracer) / "comm") or "") if seen.tracer else "",
        libraries=hints.libraries,
        environment=hints.environment or {},
        gpu_bytes=gpu_bytes,
        resident=seen.rss_bytes,
        preload=preload.read(ref, proc=root / "proc"),
        held_bytes=held_bytes,
    )
