"""A trace: who asked for how much and when, in four flat arrays (16 to 20 bytes a request). Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

UNNAMED = -1
"""Model number of a request in a trace that names no models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests in the order of their arrival. All arrays have one item a request."""

    times: array[float]
    """Seconds since the first request."""
    models: array[int]
    """Numbers into `names`, or `UNNAMED`."""
    prompts: array[int]
    """Tokens of the prompt."""
    outputs: array[int]
    """Tokens of the answer."""
    names: tuple[str, ...] = ()
    """Models in the order in which they are first asked for."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def named(self) -> bool:
        return bool(self.names)

    @property
    def span(self) -> float:
        """Seconds from the first arrival to the last."""
        return self.times[-1] if len(self) else 0.0

    def faster(self, factor: float) -> Trace:
        """The same requests in 1/`factor` of the time."""
        times = array("d", (at / factor for at in self.times))
        return Trace(times=times, models=self.models, prompts=self.prompts, outputs=self.outputs, names=self.names)

    def of(self, models: array[int], names: Sequence[str]) -> Trace:
        """The same requests for other models."""
        return Trace(times=self.times, models=models, prompts=self.prompts, outputs=self.outputs, names=tuple(names))


def in_order(
    times: array[float], models: array[int], prompts: array[int], outputs: array[int], names: Sequence[str]
) -> Trace:
    """A trace of columns in any order; those of one instant stay in theirs. Time starts with the first."""
    if any(times[i] > times[i + 1] for i in range(len(times) - 1)):
        order = sorted(range(len(times)), key=times.__getitem__)
        times = array("d", (times[i] for i in order))
        models, prompts, outputs = (
            array(column.typecode, (column[i] for i in order)) for column in (models, prompts, outputs)
        )
    begun = times[0] if times else 0.0
    times = array("d", (at - begun for at in times)) if begun else times
    return Trace(times=times, models=models, prompts=prompts, outputs=outputs, names=tuple(names))
