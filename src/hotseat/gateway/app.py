"""The gateway as an aiohttp application: routes, errors in OpenAI's shape, start and stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from hotseat.config import Gateway as Settings
from hotseat.errors import HotseatError, NotFound, UsageError
from hotseat.gateway import headers, openai
from hotseat.gateway.exchange import Exchange, Patience
from hotseat.gateway.port import Relay, Seats

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ID: web.RequestKey[str] = web.RequestKey("hotseat_request_id", str)


class Gateway:
    """`keepalive`, `max_silence` in seconds, `max_body` in bytes: see docs/configuration.md."""

    def __init__(
        self,
        seats: Seats,
        relay: Relay,
        *,
        keepalive: float = 10.0,
        max_silence: float = 600.0,
        max_body: int = 64 * 2**20,
    ) -> None:
        self._seats = seats
        self._relay = relay
        self._patience = Patience(keepalive=keepalive, max_silence=max_silence)
        self._max_body = max_body
        self._created = int(time.time())
        self._runner: web.AppRunner | None = None

    def configure(self, settings: Settings) -> None:
        """These count for every request from now on; those under way keep what they began with."""
        self._patience = Patience(keepalive=settings.keepalive, max_silence=settings.max_silence)
        self._max_body = settings.max_body

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body, middlewares=[self._errors])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{model:.+}", self._model)
        app.router.add_post("/v1/{path:.+}", self._infer)
        return app

    async def start(self, *, host: str, port: int) -> tuple[str, int]:
        """Listen. Returns the address that was taken (port 0 takes a free one). `UsageError` if it cannot be had."""
        # A client that leaves cancels its handler, and with it the engine's work or the wait for a seat.
        self._runner = web.AppRunner(self.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, reuse_address=True).start()
        except OSError as error:
            await self._runner.cleanup()
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="another program has this port, or the address is not this host's; change gateway.host or .port",
            ) from error
        address = self._runner.addresses[0]
        return address[0], address[1]

    async def stop_listening(self) -> None:
        """No new connections; requests in flight go on."""
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()

    async def aclose(self) -> None:
        """Ends what is still in flight."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return _json(openai.model_list(self._seats.models(), created=self._created))

    async def _model(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["model"]
        views = self._seats.models()
        for view in views:
            if view.id == name:
                return _json(openai.encode(openai.model_entry(view, created=self._created)))
        raise NotFound(f"no model {name!r}", hint="there are: " + ", ".join(view.id for view in views))

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        model, stream = openai.read_head(body)
        exchange = Exchange(
            request, body=body, model=model, stream=stream, request_id=request[_ID], patience=self._patience
        )
        return await exchange.run(self._seats, self._relay)

    @web.middleware
    async def _errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = headers.request_id(request.headers.get(headers.REQUEST_ID))
        request[_ID] = given
        response: web.StreamResponse
        try:
            response = await handler(request)
            if response.prepared:
                return response
        except HotseatError as error:
            response = _json(openai.error_body(error), status=error.http_status)
            if (seconds := openai.retry_after(error)) is not None:
                response.headers["Retry-After"] = str(seconds)
        except web.HTTPException as error:
            response = self._refused(request, error)
        except Exception:
            _log.exception("request %s", given)
            unexpected = HotseatError("hotseat failed on this request", hint=f"its log has more at {given}")
            response = _json(openai.error_body(unexpected), status=500)
        response.headers[headers.REQUEST_ID] = given
        return response

    def _refused(self, request: web.Request, error: web.HTTPException) -> web.Response:
        match error.status:
            case 404 | 405:
                said = UsageError(
                    f"{request.method} {request.path} is not served here",
                    hint="GET /v1/models, or POST to /v1/... with a model named in the JSON body",
                )
            case 413:
                said = UsageError(
                    f"the body is larger than {self._max_body} bytes", hint="gateway.max_body sets the limit"
                )
            case _:
                said = UsageError(error.reason)
        response = _json(openai.error_body(said), status=error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


def _json(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
