"""What is said in the demo, in which order, and what must come of it. Pure but for the talking.

An answer depends on every byte of an engine's weights and KV cache, so on all that it was asked before. The undisturbed
run therefore asks each engine the same questions in the same order as the story does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotseat.cli.story.talk import Answer, Messages, Talk

SYSTEM = (
    "You are one of two models that share a single seat on a GPU. While the other one speaks you are parked: your "
    "weights, your graphs and your cache wait in host memory and every thread of yours is frozen. You will not notice."
)
FIRST = "What do you remember of our talk?"
SECOND = "And now, after the other one had the seat?"
LONG = "Tell me a long story, without a break."
SHORT_TOKENS, LONG_TOKENS = 24, 160
TOKENS_PER_SECOND = 40.0
"""Slow enough to freeze an answer in the middle, quick enough for an audience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """What one engine says when nobody disturbs it."""

    first: Answer
    second: Answer | None = None
    long: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was told and checked."""

    name: str
    ok: bool
    detail: str
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "ms": round(self.seconds * 1000, 1)}


@dataclass(slots=True)
class Told:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)


def opening(name: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": f"{SYSTEM} Your name is {name}."}, {"role": "user", "content": FIRST}]


def going_on(name: str, first: str) -> list[dict[str, str]]:
    return [*opening(name), {"role": "assistant", "content": first}, {"role": "user", "content": SECOND}]


def long_story(name: str) -> Messages:
    return [*opening(name)[:1], {"role": "user", "content": LONG}]


async def undisturbed(talk: Talk, name: str, *, main: bool) -> Undisturbed:
    """The main character says all three things, the other only the first and, later, the second."""
    first = await talk.ask(name, opening(name), tokens=SHORT_TOKENS)
    second = await talk.ask(name, going_on(name, first.text), tokens=SHORT_TOKENS)
    if not main:
        return Undisturbed(first=first, second=second)
    long = await talk.stream(name, long_story(name), tokens=LONG_TOKENS)
    return Undisturbed(first=first, second=second, long=long)


def compare(name: str, said: Answer, wanted: Answer, *, warm: bool = False) -> Step:
    """The same tokens, and with `warm` as much of the prompt still cached as undisturbed."""
    same = said.text == wanted.text and said.tokens == wanted.tokens
    cached = said.cached_tokens == wanted.cached_tokens and (said.cached_tokens > 0 or not warm)
    if not same:
        detail = f"{said.text!r} is not the undisturbed {wanted.text!r}"
    elif not cached:
        detail = f"{said.cached_tokens} tokens of the prompt cached, {wanted.cached_tokens} undisturbed"
    else:
        detail = f"{said.tokens} tokens as undisturbed"
        if warm:
            detail += f", {said.cached_tokens} of {said.prompt_tokens} prompt tokens still in its cache"
    return Step(name=name, ok=same and cached, detail=detail, seconds=said.seconds)
