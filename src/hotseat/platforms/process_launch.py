"""From a specification to a running shim."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from hotseat.errors import PlatformFailed, Refused, UsageError
from hotseat.linux import own_cgroup
from hotseat.platforms import process_shim
from hotseat.platforms.process_registry import Record, Registry
from hotseat.platforms.spec import ContainerSpec

START_DEADLINE = 20.0
"""Seconds until the shim says that the program runs."""


def check_bare(spec: ContainerSpec) -> None:
    """A bare process has the host's files, devices, network, user and capabilities. What it cannot have is refused,
    but for devices and ports: it sees and has them all anyway."""
    asked = {
        "image": spec.image,
        "rootfs": spec.rootfs,
        "entrypoint": spec.entrypoint,
        "binds": spec.binds,
        "volumes": spec.volumes,
        "publish": spec.publish,
        "user": spec.user,
        "shm_size": spec.shm_size,
        "cap_add": spec.cap_add,
        "cap_drop": spec.cap_drop,
        "private_cgroups": spec.private_cgroups,
        "network": spec.network if spec.network != "host" else "",
    }
    if impossible := [name for name, value in asked.items() if value]:
        raise UsageError(
            f"a bare process tree cannot have {', '.join(impossible)}", hint="leave it out, or use docker or podman"
        )
    if not spec.command:
        raise UsageError("a bare process tree needs a command", hint="name the program and its arguments")


async def launch(registry: Registry, record: Record, *, env: Mapping[str, str], identity: str) -> None:
    """Start the program of `record` in a cgroup of its own named `identity`, kept by a shim that outlives us."""
    own = own_cgroup.create(identity)
    try:
        if record.memory_limit is not None and (own is None or not own.set_memory_limit(record.memory_limit)):
            raise Refused(
                f"{record.name}: no memory limit can be set here",
                rule="a limit needs a cgroup",
                hint="run as root, or in a systemd unit with Delegate=yes; or leave memory_limit out",
            )
        directory = registry.prepare_start(record.name, env=env, own=own)
        _find_program(record, env)
        await _run_shim(directory, name=record.name)
    except BaseException:
        if own is not None:
            with contextlib.suppress(PlatformFailed):  # something runs in it after all: its shim will take it away
                own.remove()
        raise


def _find_program(record: Record, env: Mapping[str, str]) -> None:
    program = record.command[0]
    if "/" not in program and shutil.which(program, path=env.get("PATH")) is None:
        raise PlatformFailed(f"{record.name}: no program {program}", hint="give its path, or put it on PATH")


async def _run_shim(directory: Path, *, name: str) -> None:
    # A pipe of our own: the detached shim may keep its end for as long as it lives, and we let go of ours.
    ours, its = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as end:
        try:
            # -I -S: the shim is a program of its own, nothing in the environment changes what it imports.
            shim = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(Path(process_shim.__file__)),
                str(directory),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=its,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(its)
        try:
            async with asyncio.timeout(START_DEADLINE):
                answered = await _line(end)
        except TimeoutError:
            raise PlatformFailed(
                f"{name} was not started within {START_DEADLINE:g} s", hint="the host may be out of memory or processes"
            ) from None
        finally:
            if shim.returncode is None:
                shim.kill()
                await shim.wait()
    answer = json.loads(answered) if answered else {"error": "its shim ended without a word"}
    if "error" in answer:
        raise PlatformFailed(f"{name} did not start: {answer['error']}", hint="run its command by hand to see why")


async def _line(end: IO[bytes]) -> bytes:
    """One line, not to the end of file. Not by a transport: one of uvloop's closes the number of the descriptor some
    time after its `close`, when it may be another's."""
    loop = asyncio.get_running_loop()
    came, some = bytearray(), asyncio.Event()
    loop.add_reader(end, some.set)
    try:
        while b"\n" not in came:
            await some.wait()
            some.clear()
            piece = os.read(end.fileno(), 65536)
            if not piece:
                break
            came += piece
        return bytes(came)
    finally:
        loop.remove_reader(end)
