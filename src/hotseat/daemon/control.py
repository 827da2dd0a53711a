"""The control API: HTTP on a unix socket that only its owner may open (mode 0600).

    GET  /v1/health                    {"status": "ok", "version", "pid", "gateway": URL, "notes": [text, ...]}
    GET  /v1/workloads                 what `hotseat ps --json` prints
    GET  /v1/workloads/NAME
    POST /v1/workloads/NAME/park       {"reports": [...]}, one a swap; body {"whole": true}: no context stays
    POST /v1/workloads/NAME/seat
    POST /v1/workloads/NAME/spill      what is parked of it goes to the store's disk
    POST /v1/workloads/NAME/fetch      ... and back into host memory
    POST /v1/workloads/NAME/prewarm    {"seconds": 600}: it will be wanted for so long; 0 takes that back
    POST /v1/swap                      {"in": NAME, "out": NAME or null}
    POST /v1/reload                    what the file changed: `reload.Reloaded`
    POST /v1/stop                      {"parked": "leave", "seat", "stop" or null}: stop gracefully; the answer comes at
                                       once, steps are events of kind "stop", the last of them is "ended"
    GET  /v1/devices                   what each device reports now
    GET  /v1/workloads/NAME/logs       text; ?tail=N&follow=1
    GET  /v1/snapshot                  devices, workloads, rates: what `hotseat top` draws
    GET  /v1/events                    server-sent events, from now on; ?after=ID missed ones too, 0 all kept

Errors are {"error": HotseatError.as_dict()} with the error's HTTP status. A command goes on when its client leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

import hotseat
from hotseat.daemon import messages as m
from hotseat.daemon import wire
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import Record, row
from hotseat.daemon.reload import Reloaded
from hotseat.dashboard import House
from hotseat.errors import HotseatError, NotFound, Refused, UsageError
from hotseat.events import EventBus
from hotseat.gateway.admin import park_whole, prewarm_seconds
from hotseat.gpu.port import DeviceTruth

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PING = 15.0
_LONGEST_PATH = 107
"""Bytes, sun_path of unix(7) less its terminating zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the daemon as a whole does on request."""

    reload: Callable[[], Awaitable[Reloaded]]
    stop: Callable[[m.How | None], m.How]
    """Begin a graceful stop, with parked workloads left as told (None: as configured). Returns how that is."""
    notes: Callable[[], list[str]]
    """What people should know now."""


class _StopBody(msgspec.Struct, forbid_unknown_fields=True):
    parked: m.How | None = None


class Control:
    def __init__(self, actor: Actor, *, devices: DeviceTruth, events: EventBus, house: House, desk: Desk) -> None:
        self._desk = desk
        self._actor = actor
        self._house = house
        self._devices = devices
        self._events = events
        self._runner: web.AppRunner | None = None
        self._path: Path | None = None
        self.gateway = ""
        """Where the gateway listens, once it does."""

    async def start(self, path: Path) -> None:
        """Listen at `path`. `Refused` if another daemon does; a socket that a dead one left behind is replaced."""
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise UsageError(
                f"the path of a socket has at most {_LONGEST_PATH} bytes: {path}", hint="set `control` to a shorter one"
            )
        app = web.Application(middlewares=[self._errors])
        app.router.add_get("/v1/health", self._health)
        app.router.add_get("/v1/workloads", self._workloads)
        app.router.add_get("/v1/workloads/{name}", self._workload)
        app.router.add_post("/v1/workloads/{name}/park", self._park)
        app.router.add_post("/v1/workloads/{name}/seat", self._seat)
        app.router.add_post("/v1/workloads/{name}/spill", self._spill)
        app.router.add_post("/v1/workloads/{name}/fetch", self._fetch)
        app.router.add_post("/v1/workloads/{name}/prewarm", self._prewarm)
        app.router.add_post("/v1/swap", self._swap)
        app.router.add_get("/v1/workloads/{name}/logs", self._logs)
        app.router.add_get("/v1/snapshot", self._snapshot)
        app.router.add_post("/v1/reload", self._reload)
        app.router.add_post("/v1/stop", self._stop)
        app.router.add_get("/v1/devices", self._uses)
        app.router.add_get("/v1/events", self._stream)
        listener = _bind(path)
        self._path = path
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def aclose(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        about = {"status": "ok", "version": hotseat.__version__, "pid": os.getpid(), "gateway": self.gateway}
        return _json({**about, "notes": self._desk.notes()})

    async def _reload(self, request: web.Request) -> web.StreamResponse:
        return _json((await self._desk.reload()).as_dict())

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            parked = msgspec.json.decode(body, type=_StopBody).parked if body else None
        except msgspec.MsgspecError as error:
            raise UsageError('write {"parked": "leave", "seat", "stop" or null}', hint=f"got: {error}") from error
        return _json({"pid": os.getpid(), "parked": self._desk.stop(parked)})

    async def _workloads(self, request: web.Request) -> web.StreamResponse:
        return _json([row(record) for record in self._actor.records.values()])

    async def _workload(self, request: web.Request) -> web.StreamResponse:
        return _json(row(self._record(request.match_info["name"])))

    async def _park(self, request: web.Request) -> web.StreamResponse:
        name = self._record(request.match_info["name"]).name
        whole = park_whole(await request.read())
        return _reports(await self._actor.ask(lambda answer: m.Park(workload=name, whole=whole, answer=answer)))

    async def _seat(self, request: web.Request) -> web.StreamResponse:
        name = self._record(request.match_info["name"]).name
        return _reports(await self._actor.ask(lambda answer: m.Seat(workload=name, answer=answer)))

    async def _spill(self, request: web.Request) -> web.StreamResponse:
        name = self._record(request.match_info["name"]).name
        return _json(await self._actor.ask(lambda answer: m.Spill(workload=name, answer=answer)))

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        name = self._record(request.match_info["name"]).name
        return _json(await self._actor.ask(lambda answer: m.Fetch(workload=name, answer=answer)))

    async def _prewarm(self, request: web.Request) -> web.StreamResponse:
        name = self._record(request.match_info["name"]).name
        seconds = prewarm_seconds(await request.read())
        asked = self._actor.ask(lambda answer: m.Prewarm(workload=name, seconds=seconds, answer=answer))
        return _json(await asked, status=202)

    async def _swap(self, request: web.Request) -> web.StreamResponse:
        try:
            body = wire.decode(await request.read())
            going_in, going_out = body["in"], body.get("out")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError('write {"in": NAME, "out": NAME or null}', hint=f"got: {error!r}") from error
        name = self._record(str(going_in)).name
        if going_out is None:
            return _reports(await self._actor.ask(lambda answer: m.Seat(workload=name, answer=answer)))
        out = self._record(str(going_out)).name
        return _reports(await self._actor.ask(lambda answer: m.Swap(workload=name, out=out, answer=answer)))

    async def _uses(self, request: web.Request) -> web.StreamResponse:
        return _json([wire.use_to(use) for use in await self._devices.use()])

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        return _json(self._house.snapshot())

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        name = self._record(request.match_info["name"]).name
        tail, follow = _number(request, "tail", 100), request.query.get("follow", "") not in ("", "0")
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        async with contextlib.aclosing(self._house.logs(name, tail=tail, follow=follow)) as chunks:
            async for chunk in chunks:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(chunk)
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        after = _number(request, "after", -1)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        subscription = self._events.subscribe(after=after if after >= 0 else None)
        # Begun before the head goes out: who has the head misses nothing.
        event = asyncio.ensure_future(anext(subscription))
        try:
            await asyncio.sleep(0)
            await response.prepare(request)
            await response.write(b": listening\n\n")
            while True:
                await asyncio.wait({event}, timeout=_PING)
                if event.done():
                    await response.write(wire.event_to(event.result()))
                    event = asyncio.ensure_future(anext(subscription))
                else:
                    await response.write(b": ping\n\n")  # finds out who has left
        except ConnectionError:
            return response
        finally:
            event.cancel()
            await asyncio.gather(event, return_exceptions=True)

    def _record(self, ref: str) -> Record:
        """By its name, or its container's name or key."""
        records = self._actor.records
        if ref in records:
            return records[ref]
        for record in records.values():
            seen = record.observation
            if ref == record.spec.container or (seen is not None and ref in (seen.container.key, seen.container.id)):
                return record
        raise NotFound(
            f"no workload {ref}",
            hint="this daemon has " + ", ".join(records) + "; --no-daemon reaches any other container",
        )

    @web.middleware
    async def _errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except HotseatError as error:
            return _json({"error": error.as_dict()}, status=error.http_status)
        except web.HTTPException as error:
            said = UsageError(f"{request.method} {request.path}: {error.reason}")
            return _json({"error": said.as_dict()}, status=error.status)
        except Exception as error:
            _log.exception("%s %s", request.method, request.path)
            return _json({"error": HotseatError(f"a bug in hotseat: {error!r}").as_dict()}, status=500)


def _bind(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_uid not in (0, os.geteuid()):
        raise Refused(
            f"{path.parent} belongs to another user, who could put a socket of theirs in our place",
            rule="the control socket's directory is ours or root's",
            hint="set `control` to a path in a directory of your own",
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(2.0)
    try:
        probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be used: {error}", hint="set `control` to another path") from error
    else:
        raise Refused(
            f"another hotseat daemon listens at {path}", rule="one daemon a socket", hint="stop it, or set `control`"
        )
    finally:
        probe.close()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # so that there is no moment in which others may open it
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen at {path}: {error}", hint="set `control` to a path you may write") from error
    finally:
        os.umask(before)
    return listener


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(value), status=status, content_type="application/json")


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise UsageError(f"{name}={text[:40]!r} is no number")
    return int(text)


def _reports(value: Any) -> web.Response:
    return _json({"reports": [wire.report_to(report) for report in value]})
