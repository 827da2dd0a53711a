"""Reads traces: the only I/O of this package. Three formats, told apart by their heads; .csv and .csv.gz.

Every mistake is a `UsageError` that says in which line it is and what should stand there.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from hotseat.errors import NotFound, UsageError
from hotseat.simulate.trace import UNNAMED, Trace, in_order

MOST_TOKENS = 100_000_000
MOST_REQUESTS = 100_000_000
LONGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Names of the columns, in lower case."""

    name: str
    time: str
    model: str | None
    prompt: str
    output: str


FORMATS = (
    Format(name="hotseat", time="time", model="model", prompt="prompt_tokens", output="output_tokens"),
    Format(name="Azure", time="timestamp", model=None, prompt="contexttokens", output="generatedtokens"),
    Format(name="BurstGPT", time="timestamp", model="model", prompt="request tokens", output="response tokens"),
)
_HINT = (
    "the first line names the columns: `time,model,prompt_tokens,output_tokens` (hotseat's own), "
    "`TIMESTAMP,ContextTokens,GeneratedTokens` (Azure), or "
    "`Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type` (BurstGPT)"
)


def read(path: Path, *, limit: int | None = None, tick: Callable[[int], None] = lambda _requests: None) -> Trace:
    """The first `limit` requests of the file; `tick` hears now and then how many lines were read."""
    try:
        with _open(path) as stream:
            return parse(stream, name=str(path), limit=limit, tick=tick)
    except FileNotFoundError as error:
        raise NotFound(
            f"no such file: {path}", hint="give the trace's path; docs/simulate.md has its formats"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text: {error.reason}", hint=_HINT) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: broken gzip: {error}", hint="fetch or compress it anew") from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", hint="is it a file you may read?"
        ) from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def parse(
    lines: Iterator[str] | TextIO,
    *,
    name: str = "trace",
    limit: int | None = None,
    tick: Callable[[int], None] = lambda _requests: None,
) -> Trace:
    """A trace of lines of CSV. Lines may be out of order; empty ones do not count."""
    rows = csv.reader(_short_lines(lines, name), strict=True)
    try:
        head = next(rows)
    except StopIteration:
        raise UsageError(f"{name} is empty", hint=_HINT) from None
    except csv.Error as error:
        raise UsageError(f"{name}:{rows.line_num}: {error}", hint=_HINT) from error
    form, at = _format(head, name)
    times, models, prompts, outputs = array("d"), array("i"), array("i"), array("i")
    numbers: dict[str, int] = {}
    most = MOST_REQUESTS if limit is None else limit
    width = len(head)
    try:
        for row in rows:
            if not row:
                continue
            if len(times) >= most:
                break
            if len(row) != width:
                raise ValueError(f"{len(row)} columns where the first line has {width}")
            times.append(_time(row[at[0]]))
            prompts.append(_tokens(row[at[2]], form.prompt))
            outputs.append(_tokens(row[at[3]], form.output))
            models.append(_model(row[at[1]], numbers) if form.model is not None else UNNAMED)
            if not len(times) % 50_000:
                tick(len(times))
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{name}:{rows.line_num}: {error}", hint=_HINT) from error
    if not times:
        raise UsageError(f"{name} has no requests, only a head", hint=_HINT)
    return in_order(times, models, prompts, outputs, tuple(numbers))


def _short_lines(lines: Iterator[str] | TextIO, name: str) -> Iterator[str]:
    """A binary file has no line ends: do not take it into memory as one line."""
    number = 0
    while True:
        number += 1
        line = lines.readline(LONGEST_LINE) if hasattr(lines, "readline") else next(lines, "")
        if len(line) >= LONGEST_LINE:
            raise UsageError(f"{name}:{number}: a line of more than {LONGEST_LINE} characters", hint=_HINT)
        if "\0" in line:
            raise UsageError(f"{name}:{number}: a null byte: this is no text", hint=_HINT)
        if not line:
            return
        yield line


def _format(head: Sequence[str], name: str) -> tuple[Format, tuple[int, int, int, int]]:
    columns = [column.strip().lower() for column in head]
    for form in FORMATS:
        wanted = [form.time, form.model, form.prompt, form.output]
        if all(column is None or column in columns for column in wanted):
            time, model, prompt, output = (0 if column is None else columns.index(column) for column in wanted)
            return form, (time, model, prompt, output)
    raise UsageError(f"{name}:1: no known columns: {', '.join(head)[:200]}", hint=_HINT)


def _time(text: str) -> float:
    """Seconds, or a date with a time (UTC unless it says otherwise)."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(f"{text[:60]!r} is no time; write seconds or 2023-11-16 18:15:46.68") from None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds) or abs(seconds) > 1e11:
        raise ValueError(f"{text[:60]!r} is no time")
    return seconds


def _tokens(text: str, column: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise ValueError(f"{column}: {text[:60]!r} is not a whole number of tokens") from None
    if not 0 <= count <= MOST_TOKENS:
        raise ValueError(f"{column}: {count} tokens cannot be")
    return count


def _model(text: str, numbers: dict[str, int]) -> int:
    name = text.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise ValueError(f"{text[:60]!r} is no name of a model")
    return numbers.setdefault(name, len(numbers))
