"""Replies in the shapes that all pages share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from hotseat.errors import Forbidden, Unauthorized, UsageError
from hotseat.gateway.site import Inquiry, Reply

NO_STORE = ("Cache-Control", "no-store")
NO_SNIFF = ("X-Content-Type-Options", "nosniff")


def encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def json(value: object) -> Reply:
    return Reply(headers=[("Content-Type", "application/json"), NO_STORE, NO_SNIFF], body=encode(value))


def stream(events: AsyncIterator[bytes]) -> Reply:
    """Server-sent events."""
    # Proxies that gather an answer before they pass it on would hold back every event.
    headers = [("Content-Type", "text/event-stream"), NO_STORE, NO_SNIFF, ("X-Accel-Buffering", "no")]
    return Reply(headers=headers, body=events)


def sse(kind: str, data: object, *, identity: int | None = None) -> bytes:
    head = f"id: {identity}\n" if identity is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + encode(data) + b"\n\n"


def admin_only(inquiry: Inquiry) -> None:
    """`Unauthorized` without a key, `Forbidden` with one that may not."""
    if inquiry.admin:
        return
    if "authorization" in inquiry.headers:
        raise Forbidden("this key is not an admin key", rule="admin", hint="use a key with `admin: true`")
    raise Unauthorized(
        "only for admins",
        rule="admin",
        hint="send an admin key as `Authorization: Bearer ...`, or come from this host where there are no keys",
    )


def number(inquiry: Inquiry, name: str, *, default: int, least: int, most: int) -> int:
    """A whole number of the query. `UsageError` outside its bounds."""
    text = inquiry.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 18) or not least <= int(text) <= most:
        raise UsageError(f"{name}={text[:40]!r} is no number from {least} to {most}")
    return int(text)


def body_of(inquiry: Inquiry) -> dict[str, Any]:
    """The JSON object of a call. A form of another web page cannot send this content type without asking first."""
    if inquiry.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise UsageError("send application/json")
    try:
        value = msgspec.json.decode(inquiry.body or b"{}")
    except msgspec.DecodeError as error:
        raise UsageError(f"the body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError("the body is no JSON object")
    return value
