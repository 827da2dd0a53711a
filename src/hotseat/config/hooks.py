"""`workloads.NAME.hooks`: HTTP calls to the engine around a swap."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hotseat.config.base import Model, UrlPath
from hotseat.config.units import Duration


class Hook(Model):
    """One HTTP call to the engine around a swap, such as vLLM's sleep. None is needed."""

    path: UrlPath
    """Path, and query if there is one, at the engine: /sleep?level=1"""
    method: Literal["GET", "POST", "PUT", "DELETE"] = "POST"
    """Its HTTP method."""
    body: str | None = None
    """What is sent, as it stands here; as application/json unless `headers` says otherwise."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers added to the call."""
    timeout: Duration = 30.0
    """How long the engine may take to answer."""
    on_error: Literal["fail", "ignore"] = "fail"
    """`fail`: an answer outside 2xx, or none, ends the swap as a failure of its step. `ignore`: it goes on."""


class Hooks(Model):
    """Calls that are declared, never guessed: hotseat knows no engine by name."""

    before_park: list[Hook] = Field(default_factory=list)
    """Before a swap out touches anything, in order; also before a stop."""
    after_seat: list[Hook] = Field(default_factory=list)
    """After a swap in, before the engine is probed, in order. Not after a cold start."""
