"""What all parts of the shape of `hotseat.yaml` share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")


class Model(BaseModel):
    """Strict and frozen; a field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def misplaced(at: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """A mistake that a whole model finds in its part `at`: the place that is shown."""
    return PydanticCustomError("misplaced", "{said}", {"at": at, "said": message})


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name is 1 to 64 of a-z, 0-9, '.', '_', '-', and begins and ends with a-z or 0-9")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError('a path begins with "/"')
    return value


Name = Annotated[str, AfterValidator(_name)]
UrlPath = Annotated[str, AfterValidator(_path)]
Port = Annotated[int, Field(ge=1, le=65535)]
DeviceIndex = Annotated[int, Field(ge=0)]
NonEmpty = Annotated[str, Field(min_length=1)]
