"""A workload made whole: what it does not say it takes from `defaults` and from its own name. Pure."""

from __future__ import annotations

from typing import Any

from hotseat.config.workload import Defaults, Workload


def filled(name: str, workload: Workload, defaults: Defaults) -> Workload:
    """Every field of the result has its value."""
    given = workload.model_fields_set
    update: dict[str, Any] = {field: getattr(defaults, field) for field in Defaults.model_fields if field not in given}
    update |= {"container": workload.container or name, "models": workload.models or [name]}
    return workload.model_copy(update=update)
