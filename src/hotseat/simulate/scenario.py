"""A trace and the workloads that serve it, ready for any number of GPUs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypedDict

from hotseat.config.model import Config
from hotseat.errors import UsageError
from hotseat.simulate import from_config
from hotseat.simulate.fleet import Costs, Fleet, Member, Service
from hotseat.simulate.place import place, wanted
from hotseat.simulate.split import split
from hotseat.simulate.trace import Trace


class SplitBy(TypedDict):
    seed: int
    zipf: float
    on: float
    off: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    trace: Trace
    members: tuple[Member, ...]
    """Without a device where they are to be placed: `need` then has the bytes at device 0."""
    serves: tuple[int, ...]
    gpu_bytes: int
    host: int | None
    devices: Mapping[int, int] | None = None
    """As the configuration has them. None: workloads are placed."""
    said: tuple[str, ...] = field(default=())
    """What was made of the trace, for people."""

    def counts(self, gpus: tuple[int, int] | None) -> Sequence[int]:
        """Numbers of GPUs to try."""
        if gpus is None:
            return [len(self.devices) if self.devices is not None else 1]
        return range(gpus[0], gpus[1] + 1)

    def fleet(self, gpus: int) -> Fleet:
        """`UsageError`: a workload does not fit on a GPU."""
        if self.devices is not None and gpus == len(self.devices):
            return Fleet(devices=self.devices, members=self.members, serves=self.serves, host=self.host)
        if spread := [member.name for member in self.members if len(member.need) > 1]:
            raise UsageError(
                f"{spread[0]} sits on several GPUs; the simulator places only those that sit on one",
                hint="leave out --gpus and --how-many: then the devices are those of the configuration",
            )
        names, sizes = [member.name for member in self.members], [member.nbytes for member in self.members]
        windows = wanted(self.trace, self.serves, len(self.members))
        homes = place(names, sizes, windows, gpus=gpus, gpu_bytes=self.gpu_bytes)
        members = tuple(
            replace(member, need={home: member.nbytes}) for member, home in zip(self.members, homes, strict=True)
        )
        devices = dict.fromkeys(range(gpus), self.gpu_bytes)
        return Fleet(devices=devices, members=members, serves=self.serves, host=self.host)


def of_sizes(
    trace: Trace,
    models: int | None,
    *,
    sizes: Sequence[tuple[int, float]],
    costs: Costs,
    service: Service,
    gpu_bytes: int,
    host: int | None,
    min_stay: float,
    split_by: SplitBy,
) -> Scenario:
    """One workload a model: those of the trace, or `models` made up. `sizes`: (bytes, weight), drawn by the seed."""
    said = f"{len(trace):,} requests in {trace.span:,.0f} s for the {len(trace.names)} models that the trace names"
    if models is not None or not trace.named:
        count = models or 1
        trace = split(trace, [f"model-{number + 1:03}" for number in range(count)], **split_by)
        said = _split_said(trace, split_by)
    random = Random(f"sizes {split_by['seed']}")
    drawn = random.choices([size for size, _ in sizes], [weight for _, weight in sizes], k=len(trace.names))
    members = tuple(
        Member(name=name, need={0: size}, costs=costs, service=service, min_stay=min_stay)
        for name, size in zip(trace.names, drawn, strict=True)
    )
    serves = tuple(range(len(members)))
    return Scenario(trace=trace, members=members, serves=serves, gpu_bytes=gpu_bytes, host=host, said=(said,))


def of_config(
    trace: Trace,
    config: Config,
    *,
    costs: Costs,
    service: Service,
    gpu_bytes: int,
    host: int | None,
    split_by: SplitBy,
) -> Scenario:
    """The workloads of `hotseat.yaml`. `UsageError`: the trace names a model that none of them serves."""
    members, models = from_config.members(config, costs=costs, service=service)
    said = f"{len(trace):,} requests in {trace.span:,.0f} s for models of the configuration"
    if not trace.named:
        trace = split(trace, [member.name for member in members], **split_by)
        models = {member.name: number for number, member in enumerate(members)}
        said = _split_said(trace, split_by)
    if unknown := [name for name in trace.names if name not in models]:
        raise UsageError(
            f"no workload serves {unknown[0]!r}, which the trace asks for"
            + (f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""),
            hint=f"add it to `models` of a workload; the configuration serves {', '.join(sorted(models)[:10])}",
        )
    return Scenario(
        trace=trace,
        members=members,
        serves=tuple(models[name] for name in trace.names),
        gpu_bytes=gpu_bytes,
        host=config.host_memory.parked if host is None else host,
        devices=from_config.devices(config, members, gpu_bytes=gpu_bytes),
        said=(said,),
    )


def _split_said(trace: Trace, by: SplitBy) -> str:
    bursts = f"bursts of {by['on']:g} s on, {by['off']:g} s off (means)" if by["off"] else "without bursts"
    return (
        f"{len(trace):,} requests in {trace.span:,.0f} s, split over {len(trace.names)} models by Zipf's law "
        f"(exponent {by['zipf']:g}), {bursts}, seed {by['seed']}"
    )
