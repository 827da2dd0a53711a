"""The control socket, for the daemon and the command line: one JSON line asks, one answers, the connection ends."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import msgspec

from hotseat.errors import Forbidden, HotseatError, UsageError
from hotseat.store.lines import LINE_MAX, VERSION, Answer, Error, Request, flat
from hotseat.store.port import Held
from hotseat.store.service import Service
from hotseat.words import ProcessRef

READ_WITHIN = 5.0
"""Seconds in which whoever connects must have asked."""


class Control:
    def __init__(self, service: Service, *, version: str) -> None:
        self._service, self._version = service, version

    async def serve(self, sock: socket.socket) -> asyncio.Server:
        return await asyncio.start_unix_server(self._connected, sock=sock, limit=LINE_MAX)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_WITHIN):
                line = await reader.readline()
            if line:
                writer.write(msgspec.json.encode(await self._answer(line, writer)) + b"\n")
                async with asyncio.timeout(READ_WITHIN):
                    await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # whoever asked is gone, or never asked
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> Answer:
        try:
            self._allow(writer)
            return await self._do(_request(line))
        except HotseatError as error:
            details = msgspec.to_builtins(error.details)
            result = getattr(error, "result", None)
            if result is not None:
                details["result"] = result
            return Answer(error=Error(error.code, error.message, error.hint, details, error.rule))

    def _allow(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()):
            raise Forbidden(f"user {uid} may not command this store", hint="be root, or the user whose store it is")

    async def _do(self, request: Request) -> Answer:
        refs = [ProcessRef(*process) for process in request.processes]
        service, deadline = self._service, request.deadline
        shows: dict[str, Callable[[], Awaitable[Mapping[ProcessRef, Held]]]] = {
            "take": lambda: service.take(refs, deadline),
            "give": lambda: service.give(refs, deadline),
            "localise": lambda: service.localise(refs, deadline),
        }
        match request.op:
            case "held":
                return Answer(held=flat(service.held(refs)))
            case "take" | "give" | "localise":
                return Answer(held=flat(await shows[request.op]()))
            case "move_out":
                return Answer(moved=await service.move_out(refs, deadline))
            case "ahead":
                await service.ahead(refs, deadline, leave=request.leave)
                return Answer()
            case "claim":
                return Answer(held=flat(await service.claim(refs, deadline, alone=request.alone)))
            case "move_in":
                return Answer(moved=await service.move_in(refs, deadline, ahead=request.ahead))
            case "spill":
                return Answer(moved=await service.spill(refs, deadline))
            case "fetch":
                return Answer(moved=await service.fetch(refs, deadline))
            case "admit":
                await service.admit(dict(zip(refs, request.device_bytes, strict=True)), deadline)
                return Answer()
            case "dismiss":
                await service.dismiss(refs, deadline)
                return Answer()
            case "checkpoint":
                return Answer(moved=await service.checkpoint(refs, deadline))
            case "restore":
                return Answer(moved=await service.restore(refs, deadline))
            case "forget":
                for ref in refs:
                    await service.forget(ref, deadline)
                return Answer()
            case "status":
                status = service.status()
                return Answer(status=replace(status, version=self._version, processes={}), held=flat(status.processes))
        raise UsageError(f"the store knows no {request.op!r}")


def _request(line: bytes) -> Request:
    try:
        request = msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"no request of this store's: {error}") from error
    if request.version != VERSION:
        raise UsageError(
            f"the store speaks version {VERSION} of its protocol, not {request.version}",
            hint="restart the store after an update",
        )
    if request.op == "admit" and len(request.device_bytes) != len(request.processes):
        raise UsageError("admit needs the bytes of each process")
    if not (request.deadline > 0 or (request.op == "claim" and request.deadline == 0)):  # which says: no more
        raise UsageError("a deadline must be above 0 seconds")
    return request
