"""What all parts of the shape of `hotseat.yaml` share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")


class Wrong(ValueError):
    """A value that does not fit: what is wrong with it, and what to write. Pydantic gives a `ValueError` its place."""

    def __init__(self, wrong: str, hint: str) -> None:
        super().__init__(f"{wrong}; {hint}")
        self.wrong = wrong
        self.hint = hint


class Model(BaseModel):
    """Strict and frozen; a field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise Wrong("not a name", "write 1 to 64 of a-z, 0-9, '.', '_', '-'; a-z or 0-9 at both ends")
    return value


def _whole(value: Any) -> Any:
    # YAML 1.1 reads yes, no, on, off as truth values, and those count as 1 and 0.
    if isinstance(value, bool):
        raise Wrong("YAML reads this as true or false", "write a whole number")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise Wrong("not a path", 'it begins with "/"')
    return value


Name = Annotated[str, AfterValidator(_name)]
UrlPath = Annotated[str, AfterValidator(_path)]
WHOLE = BeforeValidator(_whole)
"""Of an int; behind its bounds, which else do not stand in the schema."""
Port = Annotated[int, Field(ge=1, le=65535), WHOLE]
DeviceIndex = Annotated[int, Field(ge=0), WHOLE]
NonEmpty = Annotated[str, Field(min_length=1)]
