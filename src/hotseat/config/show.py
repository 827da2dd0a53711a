"""A configuration as YAML with every default in its place, fit to be read back. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hotseat.config.base import Model
from hotseat.config.model import Config
from hotseat.config.units import parse_duration

HIDDEN = "(hidden)"
_SECRET = frozenset({"env", "headers"})
"""Settings whose values may be secrets; their names are shown."""
_HASH_SHOWN = len("sha256:") + 8


def show(config: Config, *, secrets: bool = False) -> str:
    """`secrets`: with the values of environment variables and headers, and whole hashes of keys."""
    return yaml.safe_dump(as_data(config, secrets=secrets), sort_keys=False, width=110)


def as_data(value: Any, *, secrets: bool = False) -> Any:
    match value:
        case Model():
            out: dict[str, Any] = {}
            for name, field in type(value).model_fields.items():
                given = getattr(value, name)
                if given is None and not _is_duration(field.metadata):
                    continue
                if name in _SECRET and not secrets:
                    out[name] = dict.fromkeys(given, HIDDEN)
                elif name == "hash" and not secrets:
                    out[name] = given[:_HASH_SHOWN] + "..."
                elif _is_duration(field.metadata):
                    out[name] = "off" if given is None else f"{given:g}s"
                else:
                    out[name] = as_data(given, secrets=secrets)
            return _sound(value, out)
        case dict():
            return {key: as_data(item, secrets=secrets) for key, item in value.items()}
        case list():
            return [as_data(item, secrets=secrets) for item in value]
        case Path():
            return str(value)
        case _:
            return value


def _sound(model: Model, out: dict[str, Any]) -> dict[str, Any]:
    """Without what would be refused when it is read: settings that belong to another kind of workload."""
    if "platform" in out:
        if "image" not in out:
            out.pop("run", None)
        if out["platform"] == "process":
            out.pop("container", None)
        elif "image" not in out:
            out.pop("env", None)
    return out


def _is_duration(metadata: list[Any]) -> bool:
    names = {getattr(getattr(item, "func", None), "__name__", "") for item in metadata}
    return bool(names & {parse_duration.__name__, "_duration_or_off"})
