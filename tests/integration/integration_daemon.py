"""A whole daemon as a process of its own over a house's engines, and clients that insist."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from integration_house import IMAGE, LIMITS, SOON, Guest, House, until

from hotseat.daemon.client import Client
from hotseat.demo import EngineSpec, image
from hotseat.errors import HotseatError, NotFound
from hotseat.testing.served import free_port
from hotseat.words import State

PROMPTS = tuple(f"{topic}: told at length, with all that belongs to it. " * 4 for topic in ("rivers", "bread", "snow"))
TOKENS = 24

DYING = """
import os, signal, sys
import uvloop
from hotseat.cli.serving import serve
from hotseat.events import EventBus
from pathlib import Path

_, file, *last = sys.argv
publish = EventBus.publish

def dying(self, kind, *, workload=None, **data):
    event = publish(self, kind, workload=workload, **data)
    if kind == "phase" and (last == ["any"] or [data["direction"], data["phase"], data["status"]] == last):
        os.kill(os.getpid(), signal.SIGKILL)
    return event

EventBus.publish = dying
serve(Path(file), check=False, verbose=False)
"""
"""`hotseat up`, killed in the very moment in which a phase begins or ends. Nothing of this is in the product."""


@dataclass(kw_only=True)
class Daemon:
    """`hotseat up` for the guests of `house`, which run already or are started by it."""

    house: House
    guests: Sequence[Guest]
    settings: dict[str, Any] = field(default_factory=dict)
    per: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of single guests."""
    state: Path | None = None
    process: asyncio.subprocess.Process | None = None
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.house.closers.append(self.aclose)

    @property
    def directory(self) -> Path:
        return self.house.directory

    @property
    def file(self) -> Path:
        return self.directory / "hotseat.yaml"

    @property
    def log(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def control(self) -> Path:
        return self.directory / "c.sock"

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {**self.house.environment, "HOTSEAT_CONTROL": str(self.control)}

    def write(self) -> None:
        """The file, as one rename."""
        workloads = {}
        for guest in self.guests:
            entry: dict[str, Any] = {"platform": self.house.kind, "url": guest.url, "models": list(guest.spec.models)}
            if self.house.kind == "process":
                entry |= {"command": list(guest.spec.command()), "env": self.house.node.environment()}
            workloads[guest.name] = entry | self.per.get(guest.name, {})
        config = {
            "gateway": {"port": self.port, "keepalive": "1s"},
            "control": str(self.control),
            "state": str(self.state or self.directory / "state"),
            "host_memory": {"reserve": "1MiB"},
            "discovery": {"docker": False, "podman": False},
            "defaults": {"min_stay": 0, "linger": 0, "max_wait": "60s", "stop_grace": "1s"},
            "workloads": workloads,
            **self.settings,
        }
        draft = self.file.with_suffix(".part")
        draft.write_text(yaml.safe_dump(config, sort_keys=False))
        draft.replace(self.file)

    async def spawn(self, *last: str, prefix: Sequence[str] = (), verbose: bool = False) -> None:
        """`last`: direction, phase and status ("start", "done") in which it kills itself; "any": at its first phase."""
        program = ["-c", DYING, str(self.file), *last] if last else ["-m", "hotseat", "up", "-c", str(self.file)]
        if verbose:
            program.append("--verbose")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *prefix,
                sys.executable,
                *program,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def up(self, **options: Any) -> None:
        """Until the gateway answers."""
        self.write()
        await self.spawn(**options)
        async with asyncio.timeout(SOON * 2):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with self.house.http.get(f"{self.gateway}/health") as response:
                        if response.status == 200:
                            return
                assert self.process is not None
                assert self.process.returncode is None, self.words()
                await asyncio.sleep(0.02)

    async def dies(self) -> None:
        """Until it has killed itself."""
        assert self.process is not None
        code = await asyncio.wait_for(self.process.wait(), SOON * 2)
        assert code == -signal.SIGKILL, self.words()

    async def down(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), SOON * 2) == 0, self.words()

    async def aclose(self) -> None:
        """Whatever became of the test."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        for guest in self.guests:  # one that it started anew has another id
            with contextlib.suppress(NotFound):
                guest.container = await self.house.platform.inspect(guest.name)

    def words(self) -> str:
        return self.log.read_text()[-3000:]

    def client(self) -> Client:
        return Client(self.control)

    async def rows(self) -> dict[str, dict[str, Any]]:
        async with self.client() as client:
            return {row["name"]: row for row in await client.workloads()}

    async def ask(self, guest: Guest, prompt: str, *, stream: bool = False) -> str:
        """One request through the gateway. `aiohttp.ClientError` or `Refused` if it was not answered whole."""
        body = {"model": guest.spec.models[0], "prompt": prompt, "max_tokens": TOKENS, "stream": stream}
        async with self.house.http.post(f"{self.gateway}/v1/completions", json=body) as response:
            if response.status != 200:
                raise NotAnswered(f"{response.status}: {(await response.text())[:2000]}")
            if not stream:
                return str((await response.json())["choices"][0]["text"])
            text = ""
            async for line in response.content:
                if line.startswith(b"data: [DONE]"):
                    return text
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise NotAnswered(str(event))
                    text += event["choices"][0]["text"]
            raise NotAnswered("the stream broke off")


class NotAnswered(Exception):
    """An honest error, or half an answer."""


@dataclass(kw_only=True)
class Load:
    """Clients that ask both models in turn, whole and as streams, and try again as client libraries do."""

    daemon: Daemon
    expected: dict[tuple[str, str], str]
    answered: int = 0
    retried: int = 0
    wrong: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, number: int) -> None:
        turn = number
        while not self.done.is_set():
            turn += 1
            guest = self.daemon.guests[turn % len(self.daemon.guests)]
            prompt = PROMPTS[turn % len(PROMPTS)]
            text = await self._insist(guest, prompt, stream=bool(turn % 2))
            if text != self.expected[guest.name, prompt]:
                self.wrong.append(f"{guest.name}: {text!r}")
            self.answered += 1

    async def more(self, count: int) -> None:
        """Until so many more were answered."""
        goal = self.answered + count
        try:
            await until(lambda: self.answered >= goal)
        except TimeoutError as error:
            raise AssertionError(f"no answers any more: {await self.daemon.rows()} {self.wrong[-3:]}") from error

    async def _insist(self, guest: Guest, prompt: str, *, stream: bool) -> str:
        async with asyncio.timeout(SOON * 4):
            while True:
                try:
                    return await self.daemon.ask(guest, prompt, stream=stream)
                except (aiohttp.ClientError, OSError, NotAnswered) as error:
                    if isinstance(error, NotAnswered) and not error.args[0].startswith(("503", "the stream")):
                        self.wrong.append(f"{guest.name}: {error}")
                    self.retried += 1
                    await asyncio.sleep(0.05)


async def expectations(guests: Sequence[Guest]) -> dict[tuple[str, str], str]:
    """What each says while nothing disturbs it; all must sit."""
    return {
        (guest.name, prompt): (await guest.ask(prompt, tokens=TOKENS)).text for guest in guests for prompt in PROMPTS
    }


@contextlib.asynccontextmanager
async def loaded(daemon: Daemon, *, clients: int, expected: dict[tuple[str, str], str]) -> AsyncIterator[Load]:
    """Clients for as long as the block lasts; each of them gets its last answer."""
    load = Load(daemon=daemon, expected=expected)
    tasks = [asyncio.create_task(load.run(number)) for number in range(clients)]
    try:
        yield load
        load.done.set()
        await asyncio.wait_for(asyncio.gather(*tasks), SOON * 4)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert load.wrong[:3] == []


def marked(text: str) -> dict[int, str]:
    """Living processes whose environment names `text`: pid -> command."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if text.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    return found


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


async def nothing_is_left_of_it(daemon: Daemon) -> None:
    """After its end: no process, socket or reservation of it; every engine is seated or parked and nothing between."""
    house = daemon.house
    engines = {pid for guest in daemon.guests for pid in guest.pids()}
    engines |= {int(status_of(pid)["PPid"]) for pid in engines}  # with the shims of those that it started
    strangers = {pid: words for pid, words in marked(str(daemon.control)).items() if pid not in engines}
    assert strangers == {}
    assert not daemon.control.exists()
    assert house.swapper.reserved() == {}
    for guest in daemon.guests:
        seen = await guest.seen()
        assert seen.state in (State.SEATED, State.PARKED), (guest.name, seen.state, seen.note)
        for pid in guest.pids():
            status = status_of(pid)
            assert status["TracerPid"] == "0"
            assert not status["State"].startswith(("T", "t")), "stopped by somebody who is gone"
    states = {held.state for held in house.node.report().processes}
    assert states <= {"running", "checkpointed"}, "nothing stays locked"


async def settled(daemon: Daemon) -> None:
    """Until no workload is on its way."""
    async with asyncio.timeout(SOON):
        while True:
            with contextlib.suppress(HotseatError):
                if {row["state"] for row in (await daemon.rows()).values()} <= {"seated", "parked"}:
                    return
            await asyncio.sleep(0.02)


def workload(house: House, spec: EngineSpec, **more: Any) -> dict[str, Any]:
    """As hotseat.yaml has it, for hotseat to make."""
    common: dict[str, Any] = {
        "platform": house.kind,
        "models": list(spec.models),
        "port": spec.port,
        "gpu_memory": "40MiB",
        **more,
    }
    if house.kind == "process":
        return {**common, "command": spec.command(), "env": house.node.environment()}
    mounts = house.node.mounts(library_directory=image.library_directory())
    run = {
        "network": "host",
        "gpus": "none",
        "volumes": [f"{source}:{target}" for source, target in mounts],
        "ulimits": LIMITS,
    }
    return {**common, "image": IMAGE, "command": spec.command(image.PROGRAM), "run": run}


async def ask(daemon: Daemon, model: str) -> str:
    """What it says to a prompt, through the gateway."""
    body = {"model": model, "prompt": PROMPTS[0], "max_tokens": 24}
    async with daemon.house.http.post(f"{daemon.gateway}/v1/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, (answer, daemon.words())
        return str(answer["choices"][0]["text"])
