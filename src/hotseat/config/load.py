"""Reads `hotseat.yaml` and says of every mistake where it stands and what to do. Errors are `ConfigError`.

`details["mistakes"]` of the error is a list of {"place": "FILE:LINE:COLUMN", "path", "message", "hint"}: all that there
are, but for a text that is no YAML, which ends at the first place where it is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from hotseat.config import document, mistakes, paths, rules
from hotseat.config.document import At, Document
from hotseat.config.fill import filled
from hotseat.config.model import Config
from hotseat.config.store import Store
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
        written = document.read(text, name=name)
        doubled = [_Placed(item.place, written.find(item.at)[1], *_twice(item.line)) for item in written.twice()]
        read = [(reading, *mistakes.check(Config, reading.data, rules.whole)) for reading in written.readings()]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise _error([_Placed(place, "", f"not YAML: {said}", _MEND)]) from error
    except (yaml.YAMLError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _error([_Placed(name, "", f"not YAML: {said}", _MEND)]) from error
    found = [*doubled, *(_placed(mistake, reading) for reading, _, some in read for mistake in some)]
    config = read[0][1]
    if found or config is None:
        raise _error(
            sorted(dict.fromkeys(found), key=_order), hint=_LLAMA_SWAP if _is_llama_swaps(read[0][0]) else _DOCS
        )
    return _anchor(_filled(config), base or Path.cwd())


def places(text: str, *, name: str) -> Callable[[At], tuple[str, str]]:
    """Of a text that reads: see `Document.find`."""
    return document.read(text, name=name).find


_MEND = "mend this first; what is behind it cannot be read before"
_DOCS = "docs/configuration.md and examples/hotseat.yaml explain every setting"
_LLAMA_SWAP = "this looks like a configuration of llama-swap; `hotseat import llama-swap FILE` converts it"


def _is_llama_swaps(reading: Document) -> bool:
    """It has models with commands where workloads should be."""
    data = reading.data if isinstance(reading.data, dict) else {}
    models = data.get("models")
    given = list(models.values()) if isinstance(models, dict) else []
    return "workloads" not in data and any(isinstance(model, dict) and "cmd" in model for model in given)


@dataclass(frozen=True, slots=True)
class _Placed:
    place: str
    path: str
    message: str
    hint: str


def _placed(mistake: mistakes.Mistake, reading: Document) -> _Placed:
    place, path = reading.find(mistake.at)
    return _Placed(place, path, mistake.message, mistake.hint)


def _order(mistake: _Placed) -> tuple[int, ...]:
    """As they stand in the file."""
    return tuple(int(part) for part in mistake.place.split(":")[-2:] if part.isdigit())


def _twice(line: int) -> tuple[str, str]:
    return f"stands twice, first in line {line}", "keep one of them"


def _error(found: list[_Placed], *, hint: str = _DOCS) -> ConfigError:
    lines = [f"{m.place}: {m.path + ': ' if m.path else ''}{m.message}; {m.hint}" for m in found]
    return ConfigError(
        "\n".join(lines),
        hint=hint,
        mistakes=[asdict(mistake) for mistake in found],
    )


def _filled(config: Config) -> Config:
    """Every workload with its own value for each default."""
    whole = {name: filled(name, workload, config.defaults) for name, workload in config.workloads.items()}
    return config.model_copy(update={"workloads": whole})


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
            "store": _anchored_store(config.store, base),
            "workloads": {name: workload(item) for name, item in config.workloads.items()},
        }
    )


def _anchored_store(store: Store, base: Path) -> Store:
    spill = base / store.spill.expanduser() if store.spill is not None else None
    return store.model_copy(update={"control": base / store.control.expanduser(), "spill": spill})


def _anchored(volume: str, base: Path) -> str:
    source, colon, rest = volume.partition(":")
    return str(base / Path(source).expanduser()) + colon + rest if source.startswith((".", "~")) else volume
