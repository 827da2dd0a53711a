"""Reads `hotseat.yaml` and says of every mistake where it stands and what to do. Errors are `ConfigError`.

`details["mistakes"]` of the error is a list of {"place": "FILE:LINE:COLUMN", "path", "message"}, all that were found.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hotseat.config import paths
from hotseat.config.model import Config
from hotseat.config.workload import Workload
from hotseat.errors import ConfigError, NotFound

_MAX_FILE = 4 * 2**20


def find(*, env: Mapping[str, str] | None = None) -> Path:
    """The first hotseat.yaml of `paths.config_places`. `NotFound` lists where it looked."""
    places = paths.config_places(env=env)
    for place in places:
        if place.is_file():
            return place
    raise NotFound(
        "no hotseat.yaml; looked at " + ", ".join(map(str, places)),
        hint="write one (examples/hotseat.yaml explains every setting) or name it: hotseat up --config FILE",
    )


def load(path: str | os.PathLike[str]) -> Config:
    """The checked configuration in the file `path`. Relative paths in it are relative to the file."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
        text = data.decode()
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {file}", hint="examples/hotseat.yaml is one to begin with") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint="it must be a readable UTF-8 text file") from error
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{file} is larger than {_MAX_FILE} bytes", hint="is this really a hotseat.yaml?")
    return parse(text, name=str(file), base=file.resolve().parent)


def parse(text: str, *, name: str = "hotseat.yaml", base: Path | None = None) -> Config:
    """The checked configuration in `text`; `name` stands in messages, `base` is what relative paths start from."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        mistakes = list(_duplicates(root, name))
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise _error([_Mistake(place, "", f"not YAML: {said}")]) from error
    except yaml.YAMLError as error:
        raise _error([_Mistake(name, "", f"not YAML: {error}")]) from error
    try:
        config = Config.model_validate({} if raw is None else raw)
    except ValidationError as error:
        for item in error.errors():
            mistakes.append(_mistake(item, root, name))
        raise _error(mistakes) from error
    mistakes += _conflicts(config, root, name)
    if mistakes:
        raise _error(mistakes)
    return _anchor(config, base or Path.cwd())


def places(text: str, *, name: str) -> Callable[[tuple[int | str, ...]], tuple[str, str]]:
    """Of a text that reads: the place of a setting as FILE:LINE:COLUMN, and its path as people write it. A setting that
    does not stand there has the place of what is around it."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)

    def find_place(at: tuple[int | str, ...]) -> tuple[str, str]:
        shown, node = _find(root, at)
        mark = node.start_mark if node is not None else None
        return (f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name), shown

    return find_place


@dataclass(frozen=True, slots=True)
class _Mistake:
    place: str
    path: str
    message: str


def _error(mistakes: list[_Mistake]) -> ConfigError:
    lines = [f"{m.place}: {m.path + ': ' if m.path else ''}{m.message}" for m in mistakes]
    return ConfigError(
        "\n".join(lines),
        hint="docs/configuration.md and examples/hotseat.yaml explain every setting",
        mistakes=[{"place": m.place, "path": m.path, "message": m.message} for m in mistakes],
    )


def _mistake(item: Any, root: yaml.Node | None, name: str) -> _Mistake:
    loc: tuple[int | str, ...] = item["loc"]
    # A bad key of a mapping is reported as (..., key, "[key]").
    if loc and loc[-1] == "[key]":
        loc = loc[:-1]
    message = explain(item, loc[-1] if loc else "")
    match item["type"]:
        case "misplaced":
            loc = (*loc, *item["ctx"]["at"])
        case "extra_forbidden":
            message += _meant(loc)
        case _:
            pass
    shown, node = _find(root, loc)
    mark = node.start_mark if node is not None else None
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    return _Mistake(place, shown, message)


def explain(item: Any, last: int | str) -> str:
    """One of pydantic's mistakes in words that say what to write. `last` is the setting that it is about."""
    match item["type"]:
        case "extra_forbidden":
            return "unknown setting"
        case "missing":
            return "is missing"
        case "list_type" if last == "command":
            return 'write a list, one item per argument: [program, "--flag", value]'
        case "list_type" if isinstance(item["input"], str | int):
            return f"write a list: [{item['input']}]"
        case "list_type":
            return "write a list: one item a line, each with a `-` before it"
        case "model_type" | "dict_type":
            return f"write settings beneath it, each as NAME: VALUE; {item['input']!r} is none"
        case "string_type" if isinstance(item["input"], int | float):
            return f'YAML reads this as a number or truth value; write it in quotes: "{item["input"]}"'
        case _:
            said: str = item["msg"]
            return said.removeprefix("Value error, ")


def _meant(loc: tuple[int | str, ...]) -> str:
    """What the writer may have meant by the unknown setting at `loc`."""
    model: Any = Config
    for part in loc[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        elif model is not None:
            # dict[Key, Model]: the key is consumed.
            model = getattr(model, "__args__", (None,))[-1]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    near = difflib.get_close_matches(str(loc[-1]), model.model_fields, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(model.model_fields)}"


def _find(root: yaml.Node | None, loc: tuple[int | str, ...]) -> tuple[str, yaml.Node | None]:
    """The path as people write it, and the node of its deepest part that stands in the file (a key if it can)."""
    shown, node, at = "", root, root
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if str(k.value) == str(part)), None)
            shown += f".{part}" if shown else str(part)
            if pair is None:
                break
            at, node = pair
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            shown += f"[{part}]"
            at = node = node.value[part]
        else:
            break
    return shown, at


def _duplicates(node: yaml.Node | None, name: str) -> list[_Mistake]:
    """Keys that stand twice in one mapping: YAML would take the last without a word."""
    found: list[_Mistake] = []
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            mark = key.start_mark
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                place = f"{name}:{mark.line + 1}:{mark.column + 1}"
                found.append(_Mistake(place, key.value, f"stands twice; first in line {seen[key.value]}"))
            seen.setdefault(str(key.value), mark.line + 1)
            found += _duplicates(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += _duplicates(item, name)
    return found


def _conflicts(config: Config, root: yaml.Node | None, name: str) -> list[_Mistake]:
    """Two workloads that claim the same model or the same container."""
    found: list[_Mistake] = []
    models: dict[str, str] = {}
    containers: dict[tuple[str, str], str] = {}
    for workload_name, workload in config.workloads.items():
        claims: list[tuple[Any, dict[Any, str], str, str]] = [
            (model, models, f"model {model!r}", "models") for model in dict.fromkeys(workload.models or ())
        ]
        key = (workload.platform, workload.container)
        claims.append((key, containers, f"{workload.platform} container {workload.container!r}", "container"))
        for claim, owners, what, field in claims:
            owner = owners.setdefault(claim, workload_name)
            if owner != workload_name:
                shown, node = _find(root, ("workloads", workload_name, field))
                mark = node.start_mark if node is not None else None
                place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
                found.append(_Mistake(place, shown, f"{what} already belongs to workload {owner!r}"))
    return found


def _anchor(config: Config, base: Path) -> Config:
    """Relative paths made absolute."""

    def workload(item: Workload) -> Workload:
        if item.platform == "process":
            where = base / (item.workdir.expanduser() if item.workdir else Path())
            return item.model_copy(update={"workdir": where})
        if not any(text.startswith((".", "~")) for text in item.run.volumes):
            return item
        volumes = [_anchored(text, base) for text in item.run.volumes]
        return item.model_copy(update={"run": item.run.model_copy(update={"volumes": volumes})})

    return config.model_copy(
        update={
            "control": base / config.control.expanduser(),
            "state": base / config.state.expanduser(),
            "store": config.store.model_copy(update={"control": base / config.store.control.expanduser()}),
            "workloads": {name: workload(item) for name, item in config.workloads.items()},
        }
    )


def _anchored(volume: str, base: Path) -> str:
    source, colon, rest = volume.partition(":")
    return str(base / Path(source).expanduser()) + colon + rest if source.startswith((".", "~")) else volume
