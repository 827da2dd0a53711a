"""An engine of the other kinds, for tests: speech, pictures, rerankings, responses, a WebSocket, pages of its own.

Needs no GPU. What it answers is a digest of what reached it, so that one lost or changed byte shows.

    python -m hotseat.testing.studio --model NAME --port PORT
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from typing import Any

from aiohttp import BodyPartReader, web


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Studio:
    def __init__(self, model: str) -> None:
        self.model = model

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**31)
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/audio/transcriptions", self._heard)
        app.router.add_post("/v1/audio/translations", self._heard)
        app.router.add_post("/v1/audio/speech", self._speech)
        app.router.add_post("/v1/images/generations", self._image)
        app.router.add_post("/v1/images/edits", self._edit)
        app.router.add_post("/v1/moderations", self._moderation)
        app.router.add_post("/v1/responses", self._response)
        for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
            app.router.add_post(path, self._rerank)
        app.router.add_post("/score", self._score)
        app.router.add_get("/v1/realtime", self._realtime)
        app.router.add_get("/pages/{name}", self._page)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _form(self, request: web.Request) -> tuple[dict[str, str], dict[str, bytes]]:
        fields: dict[str, str] = {}
        files: dict[str, bytes] = {}
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            assert isinstance(part, BodyPartReader)
            value = bytes(await part.read())
            if part.filename is None:
                fields[part.name or ""] = value.decode()
            else:
                files[part.name or ""] = value
        return fields, files

    def _checked(self, model: Any) -> None:
        if model != self.model:
            raise web.HTTPNotFound(text=json.dumps({"error": {"message": f"the studio has no {model!r}"}}))

    async def _heard(self, request: web.Request) -> web.StreamResponse:
        fields, files = await self._form(request)
        self._checked(fields["model"])
        text = digest(files["file"])
        if fields.get("stream") != "true":
            return web.json_response({"text": text})
        events = [{"type": "transcript.text.delta", "delta": text[at : at + 8]} for at in range(0, len(text), 8)]
        return await self._events(request, [*events, {"type": "transcript.text.done", "text": text}])

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._checked(body["model"])
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        for word in body["input"].split():
            await response.write(hashlib.sha256(word.encode()).digest() * 1000)
        await response.write_eof()
        return response

    async def _image(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._checked(body["model"])
        return web.json_response({"created": 0, "data": [{"b64_json": digest(body["prompt"].encode())}]})

    async def _edit(self, request: web.Request) -> web.Response:
        fields, files = await self._form(request)
        self._checked(fields["model"])
        return web.json_response({"created": 0, "data": [{"b64_json": digest(files["image"])}]})

    async def _moderation(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._checked(body["model"])
        result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
        return web.json_response({"id": "modr-1", "model": self.model, "results": [result]})

    async def _response(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._checked(body["model"])
        text = digest(body["input"].encode())
        content = {"type": "output_text", "text": text, "annotations": []}
        output = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [content]}
        whole = {"id": "resp_1", "object": "response", "created_at": 0, "model": self.model, "output": [output]}
        whole |= {"status": "completed", "parallel_tool_calls": False, "tool_choice": "none", "tools": []}
        if not body.get("stream"):
            return web.json_response(whole)
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        deltas = [
            {"type": "response.output_text.delta", **place, "delta": text[at : at + 8]} for at in range(0, len(text), 8)
        ]
        return await self._events(request, [*deltas, {"type": "response.completed", "response": whole}])

    async def _rerank(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._checked(body["model"])
        order = sorted(range(len(body["documents"])), key=lambda index: digest(body["documents"][index].encode()))
        return web.json_response({"results": [{"index": index, "relevance_score": 1.0} for index in order]})

    async def _score(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._checked(body["model"])
        return web.json_response({"data": [{"index": 0, "score": float(len(body["text_1"]))}]})

    async def _realtime(self, request: web.Request) -> web.WebSocketResponse:
        """Says back every message, with the protocol that was agreed on."""
        self._checked(request.query["model"])
        socket = web.WebSocketResponse(protocols=["realtime"])
        await socket.prepare(request)
        await socket.send_json({"type": "session.created", "protocol": socket.ws_protocol})
        async for message in socket:
            await socket.send_json({"type": "said", "text": message.data})
        return socket

    async def _page(self, request: web.Request) -> web.Response:
        """The headers that reached the engine, for those who ask what does."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"page": request.match_info["name"], "query": dict(request.query), "headers": headers})

    async def _events(self, request: web.Request, events: list[dict[str, Any]]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(events):
            data = json.dumps({**event, "sequence_number": number})
            await response.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


async def _serve(model: str, port: int) -> None:
    runner = web.AppRunner(Studio(model).app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(_serve(given.model, given.port))
