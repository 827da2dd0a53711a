"""One engine in a container and the ways by which it leaves the device and comes back, each timed and probed alike."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines import Engine
from http_client import Answer, complete
from lab import Lab, StepFailed
from turns import tree

from hotseat import native
from hotseat.gpu.preload import LIBRARY
from hotseat.platforms.interposed import AGENTS_INSIDE, LIBRARY_INSIDE, Interposer, agents_of, environment
from hotseat.store.client import StoreClient
from hotseat.store.port import CONTROL, Moved, Status
from hotseat.words import ProcessRef

GIB = 1 << 30
PROMPT = [(i * 7919 + 13) % 900 for i in range(1500)]
SHORT = [1, 2, 3, 4, 5]
"""No prefix of the other, and shorter than a block of any prefix cache: always computed in the same way."""
SHORT_TOKENS = 32
STEP = 60.0
SETTLE = 1.0
"""Seconds that NVML may lag behind a release."""

Done = tuple[float, dict[str, Any]]
"""Seconds, and what else is known of the step."""


class OwnStore:
    """A store of this run's own. Its arena is populated while others work; `ready` waits for it."""

    def __init__(self, lab: Lab, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.lab = lab
        self.control = directory / CONTROL
        self.client = StoreClient(self.control)
        self.process = process

    def status(self) -> Status:
        return asyncio.run(self.client.status(deadline=STEP))

    def wait(self, what: str, true: Callable[[Status], bool], *, deadline: float) -> float:
        def holds() -> bool:
            if self.process.poll() is not None:
                raise StepFailed(f"the store ended with {self.process.returncode}")
            return true(self.status())

        return self.lab.wait(what, holds, deadline=deadline)

    def ready(self) -> float:
        return self.wait("arena populated", lambda seen: seen.running and seen.ready >= seen.arena, deadline=150)

    def flags(self) -> list[str]:
        """Of `podman run`: the interposer, as docs/store.md has it for a container that somebody else makes."""
        given = Interposer(library=native.path(LIBRARY), agents=agents_of(self.control))
        mounts = [f"{bind.source}:{bind.target}:ro" for bind in given.binds()]
        variables = environment(LIBRARY_INSIDE, AGENTS_INSIDE)
        return [
            *(word for mount in mounts for word in ("-v", mount)),
            *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
        ]

    def processes(self, pids: set[int]) -> list[ProcessRef]:
        return [ref for ref in self.status().processes if ref.pid in pids]


@contextmanager
def own_store(lab: Lab, *, arena: int) -> Iterator[OwnStore]:
    with tempfile.TemporaryDirectory(prefix="hotseat-engines-") as name, (lab.out / "store.txt").open("ab") as log:
        directory, threads = Path(name), min(os.cpu_count() or 1, 16)
        argv = [sys.executable, "-P", "-m", "hotseat.store", f"--arena={arena}", f"--directory={directory}"]
        process = subprocess.Popen([*argv, f"--threads={threads}"], stdout=log, stderr=log, env=lab.environ)
        store = OwnStore(lab, directory, process)
        try:
            store.wait("the store answers", lambda seen: seen.running, deadline=60)
            lab.environ["HOTSEAT_STORE_CONTROL"] = str(store.control)
            yield store
        finally:
            lab.environ.pop("HOTSEAT_STORE_CONTROL", None)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                lab.check("the store ends within 30 s of SIGTERM", False)
                process.kill()
                process.wait()


def post(port: int, path: str, *, deadline: float = 90) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline)
    try:
        connection.request("POST", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@dataclass(kw_only=True)
class Subject:
    """A running engine: what it answers, how fast it is, how it is swapped."""

    lab: Lab
    engine: Engine
    decode: int
    """Tokens of a measured answer."""
    store: OwnStore | None = None
    reference: tuple[str, str | None] = ("", None)
    facts: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    # What it answers

    def ask(self, prompt: list[int], *, tokens: int) -> Answer:
        return complete(self.engine.port, self.engine.model, prompt, tokens=tokens, deadline=STEP, **self.engine.extra)

    def short(self) -> tuple[str, str | None]:
        answer = self.ask(SHORT, tokens=SHORT_TOKENS)
        return answer.text, answer.fingerprint

    def settle(self) -> None:
        """The undisturbed answer, which it must repeat by itself to be an oracle; speed; a warm prefix cache."""
        self.ask(PROMPT, tokens=1)
        first = self.short()
        cold = self.ask([*reversed(PROMPT)], tokens=1)
        self.facts["prompt_not_cached_s"] = cold.seconds
        self.reference = self.short()
        self.lab.check(
            f"{self.engine.name} repeats itself undisturbed", first == self.reference, (first, self.reference)
        )
        self.facts["reference"] = self.reference
        self.facts["tokens_per_s"] = self.speed()
        self.ask(PROMPT, tokens=1)
        self.facts["prompt_again_s"] = self.ask(PROMPT, tokens=1).seconds

    def speed(self) -> float:
        """Median of three, after a warm-up."""
        self.ask(SHORT, tokens=self.decode // 4)
        return round(statistics.median(self.decode / self.ask(SHORT, tokens=self.decode).seconds for _ in range(3)), 2)

    def fill(self, tokens: int, *, seed: int, within: float = 40) -> int:
        """Prompts that share nothing, until so many tokens are in the KV cache or the time is over; how many are."""
        if tokens <= 0:
            return 0
        rng, end, size = random.Random(seed), time.monotonic() + within, 4000
        prompts = [[rng.randrange(900) for _ in range(size)] for _ in range(-(-tokens // size))]

        def one(prompt: list[int]) -> int:
            return size if time.monotonic() < end and self.ask(prompt, tokens=1) else 0

        with ThreadPoolExecutor(16) as pool:
            return sum(pool.map(one, prompts))

    def probe(self) -> dict[str, Any]:
        """Right after a swap in; leaves the prefix cache warm for the next one."""
        prompt = self.ask(PROMPT, tokens=1)
        said = self.short()
        self.ask(PROMPT, tokens=1)
        return {"prompt_s": prompt.seconds, "cached": prompt.cached_tokens, "same": said == self.reference}

    # How it is swapped

    def swap(self, way: str, out: Callable[[], Done], into: Callable[[], Done]) -> float:
        """One cycle. Seconds out and in."""
        row: dict[str, Any] = {}
        self.rows.setdefault(way, []).append(row)
        row["out"], row["out_detail"] = out()
        time.sleep(SETTLE)
        row["left"] = self.lab.used()
        row["in"], row["in_detail"] = into()
        row |= self.probe()
        self.lab.check(f"{way}: answer identical", row["same"])
        self.lab.record(f"{way} {len(self.rows[way])}", row)
        self.lab.save()
        return float(row["out"] + row["in"])

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """A way that fails does not cost the others, as long as the engine still answers."""
        try:
            yield
        except Exception as error:
            self.lab.check(f"{what}: works ({type(error).__name__}: {str(error)[:1200]})", False)
            self.lab.save()
            self.lab.check(f"{what}: after it has failed the engine answers the same", self.probe()["same"])

    def by_hotseat(self, word: str) -> Done:
        began = time.perf_counter()
        report = self.lab.cli(word, "--no-daemon", f"podman:{self.engine.name}", deadline=150)
        return report["ms"] / 1e3, {"command_s": time.perf_counter() - began, "report": report}

    def driver(self, way: str = "driver") -> float:
        return self.swap(way, lambda: self.by_hotseat("park"), lambda: self.by_hotseat("seat"))

    def post(self, path: str) -> Done:
        began = time.perf_counter()
        if (status := post(self.engine.port, path)) != 200:
            raise StepFailed(f"POST {path}: {status}")
        return time.perf_counter() - began, {}

    def sleep(self, way: str = "sleep level 1") -> float:
        return self.swap(way, lambda: self.post("/sleep?level=1"), lambda: self.post("/wake_up"))

    def sleep_then_driver(self, way: str = "sleep, then driver") -> float:
        def out() -> Done:
            slept, parked = self.post("/sleep?level=1"), self.by_hotseat("park")
            return slept[0] + parked[0], {"sleep_s": slept[0], "park_s": parked[0], **parked[1]}

        def into() -> Done:
            seated, woken = self.by_hotseat("seat"), self.post("/wake_up")
            return seated[0] + woken[0], {"seat_s": seated[0], "wake_s": woken[0], **seated[1]}

        return self.swap(way, out, into)

    def kept(self, way: str) -> float:
        """By the store's bare steps, for all of its CUDA processes at once; the contexts stay on the device."""
        assert self.store is not None
        client, refs = self.store.client, self.refs()

        async def timed(**steps: Any) -> Done:
            seconds, found, moved = {}, {}, Moved()
            for name, step in steps.items():
                began = time.perf_counter()
                done = await step(refs, deadline=STEP)
                seconds[name] = time.perf_counter() - began
                if isinstance(done, Moved):
                    moved = done
            total = sum(seconds.values())
            for ref, held in (await client.held(refs, deadline=STEP)).items():
                found[ref.pid] = {"state": held.state, "blocks": held.blocks, "bytes": held.bytes, "parts": held.parts}
            parts = {"total": moved.total, "copied": moved.copied, "unchanged": moved.unchanged, "zero": moved.zero,
                     "shared": moved.shared}  # fmt: skip
            return total, {"steps": seconds, "moved": parts, "processes": found}

        return self.swap(
            way,
            lambda: asyncio.run(timed(take=client.take, move_out=client.move_out)),
            lambda: asyncio.run(timed(move_in=client.move_in, give=client.give)),
        )

    def restored(self, way: str) -> float:
        """By hotseat's own park and seat, which must have found the store."""
        seconds = self.swap(way, lambda: self.by_hotseat("park"), lambda: self.by_hotseat("seat"))
        report = self.rows[way][-1]["out_detail"]["report"]
        self.lab.check(f"{way}: its memory went by the store", bool(report.get("interposed")), report)
        return seconds

    def refs(self) -> list[ProcessRef]:
        assert self.store is not None
        pid = int(self.lab.sh(["podman", "inspect", "-f", "{{.State.Pid}}", self.engine.name]))
        refs = self.store.processes(set(tree(pid)))
        if not refs:
            raise StepFailed(f"the store knows no process of {self.engine.name}: {self.store.status()}")
        return refs
