"""What is wrong with given settings, all of it, in words that say what to write. Pure.

Our own validators raise `Wrong`, which says both. Everything else that pydantic may find is told
by the JSON schema of the setting: what it finds changes with its versions, the schema is ours.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hotseat.config import rules
from hotseat.config.base import Wrong
from hotseat.config.document import At
from hotseat.config.workload import Workload

M = TypeVar("M", bound=BaseModel)
_KEY = "a device index before the colon: 0, 1, ..."
"""Keys are indices where they are not names, and names say so themselves."""
_LONG = 40
"""Characters of a value that a message repeats."""
_A_LIST = "a list: one item a line, each with a `-` before it"


@dataclass(frozen=True, slots=True)
class Mistake:
    at: At
    message: str
    """What is wrong."""
    hint: str
    """What to write."""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


def check(
    model: type[M], given: Any, together: Callable[[Any], Iterable[rules.Broken]]
) -> tuple[M | None, list[Mistake]]:
    """What is made of `given`, and its mistakes. `together` is what its settings must keep beside their shape."""
    try:
        made = model.model_validate(given)
    except ValidationError as error:
        found = [_told(item, model) for item in error.errors(include_url=False)]
        return None, [*found, *(Mistake(*broken) for broken in together(given))]
    as_read = made.model_dump(exclude_unset=True)  # `public: "no"` is no more public than false
    return made, [Mistake(*broken) for broken in together(as_read)]


def check_workload(given: Mapping[str, Any]) -> tuple[Workload | None, list[Mistake]]:
    return check(Workload, given, rules.workload)


def _told(item: Any, model: type[BaseModel]) -> Mistake:
    at: At = item["loc"]
    is_key = bool(at) and at[-1] == "[key]"  # a bad key of a mapping is reported as (..., key, "[key]")
    at = at[:-1] if is_key else at
    kind, value = item["type"], item["input"]
    if kind == "value_error" and isinstance(error := item["ctx"]["error"], Wrong):
        return Mistake(at, error.wrong, error.hint)
    if kind == "extra_forbidden":
        return Mistake(at, "unknown setting", _meant(at, model))
    if kind == "string_type" and isinstance(value, int | float):
        return Mistake(at, "YAML reads this as a number or truth value", f'write it in quotes: "{value}"')
    schema = _schema(model)
    hint = "write " + (_KEY if is_key else _described(_at(at, schema), schema))
    if kind == "missing":
        return Mistake(at, "is missing", hint)
    if kind == "list_type" and at[-1:] in (("command",), ("entrypoint",)):
        hint = 'write a list, one item per argument: [program, "--flag", value]'
        return Mistake(at, f"{_shown(value)} is no list", hint)
    if kind == "list_type" and isinstance(value, str | int):
        return Mistake(at, f"{_shown(value)} is no list", f"write a list: [{_shown(value)}]")
    return Mistake(at, "is empty" if value in (None, "", []) else f"{_shown(value)} does not fit here", hint)


def _shown(value: Any) -> str:
    """A value in a message; of settings beneath it only that there are some: they may be secrets."""
    if isinstance(value, Mapping | list):
        return "a list" if isinstance(value, list) else "a setting with others beneath it"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."


def _meant(at: At, model: type[BaseModel]) -> str:
    known = list(_at(at[:-1], _schema(model)).get("properties", ()))
    near = difflib.get_close_matches(str(at[-1]), known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _at(at: At, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the setting at `at`; empty if there is none."""
    here = root
    for part in at:
        options = [_resolved(option, root) for option in here.get("anyOf", [here])]
        here = {}
        for option in options:
            if isinstance(part, int) and "items" in option:
                here = option["items"]
            elif part in option.get("properties", {}):
                here = option["properties"][part]
            elif isinstance(option.get("additionalProperties"), Mapping):
                here = option["additionalProperties"]
        here = _resolved(here, root)
    return here


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _described(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if examples := schema.get("examples"):
        return f'for example "{examples[0]}"'
    if options := schema.get("anyOf"):
        found = [_resolved(option, root) for option in options if option.get("type") != "null"]
        return " or ".join(_described(option, root) for option in found)
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return ", ".join(map(str, choices[:-1])) + (" or " if choices[1:] else "") + str(choices[-1])
    match schema.get("type"):
        case "integer":
            return _number(schema)
        case "boolean":
            return "true or false"
        case "array":
            return _A_LIST
        case "string":
            return "a path" if schema.get("format") == "path" else "a text"
        case _:
            return "settings beneath it, each as NAME: VALUE"


def _number(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"a whole number from {low} to {high}"
    return "a whole number" if low is None else f"a whole number that is {low} or more"
