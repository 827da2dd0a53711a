"""Requests to an OpenAI-compatible server, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    text: str
    fingerprint: str | None
    cached_tokens: int | None
    seconds: float
    headers: dict[str, str]


def get(port: int, path: str, *, deadline: float = 5) -> int:
    """The status of GET, 0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def complete(
    port: int, model: str, prompt: list[int] | str, *, tokens: int, deadline: float = 120, **extra: Any
) -> Answer:
    """One whole completion. Raises RuntimeError with the server's words for anything but 200."""
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline)
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0} | extra
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {data[:500]!r}")
    answer = json.loads(data)
    details = (answer.get("usage") or {}).get("prompt_tokens_details") or {}
    return Answer(
        text=answer["choices"][0]["text"],
        fingerprint=answer.get("system_fingerprint"),
        cached_tokens=details.get("cached_tokens"),
        seconds=time.monotonic() - started,
        headers={k.lower(): v for k, v in response.getheaders()},
    )


class Stream:
    """A streamed completion in a thread of its own; `reached` is set once `mark` tokens have come."""

    def __init__(
        self, port: int, model: str, prompt: list[int] | str, *, tokens: int, mark: int, deadline: float = 300,
        **extra: Any,
    ) -> None:  # fmt: skip
        self.reached = Event()
        self.text = ""
        self.count = 0
        self.error = ""
        self.longest_gap = 0.0
        self._mark = mark
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True} | extra
        self._thread = Thread(target=self._run, args=(port, json.dumps(body), deadline), daemon=True)
        self._thread.start()

    def _run(self, port: int, body: str, deadline: float) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline)
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            response = connection.getresponse()
            last = time.monotonic()
            while line := response.readline():
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                event = json.loads(line[6:])
                if event.get("choices"):
                    self.text += event["choices"][0]["text"]
                    self.count += 1
                    self.longest_gap = max(self.longest_gap, time.monotonic() - last)
                    last = time.monotonic()
                    if self.count >= self._mark:
                        self.reached.set()
        except Exception as error:  # reported by join(), in the caller's thread
            self.error = repr(error)

    def join(self, *, deadline: float) -> str:
        self._thread.join(deadline)
        if self._thread.is_alive():
            raise RuntimeError(f"stream: not ended within {deadline} s ({self.count} tokens came)")
        if self.error:
            raise RuntimeError(f"stream: {self.error} after {self.count} tokens")
        return self.text
