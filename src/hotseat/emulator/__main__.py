"""`python -m hotseat.emulator`: create an emulated node, see who holds what, set and clear faults."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import HotseatError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_KINDS = {kind.name.lower().replace("_", "-"): kind for kind in FaultKind}


class Size(click.ParamType[int]):
    """Bytes as "512MiB", "1GiB" or a plain number; the units are binary."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is no size; write it like 512MiB or 1GiB", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


@click.group()
def main() -> None:
    """The emulated driver: a GPU of files, for tests and demonstrations."""


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--device", "devices", type=Size(), multiple=True, required=True, help="One per device: its memory.")
@click.option("--context", type=Size(), default="16MiB", show_default=True, help="What a context costs on its device.")
@click.option("--preallocate", is_flag=True, help="Take all memory now: no container's limit pays for it.")
@click.option(
    "--custom-storage", is_flag=True, help="A driver of CUDA 13.4 (615), which can checkpoint into its caller."
)
def create(directory: Path, devices: tuple[int, ...], context: int, preallocate: bool, custom_storage: bool) -> None:
    """Make DIRECTORY an emulated node."""
    node = EmulatedNode.create(
        directory, devices=devices, context_bytes=context, preallocate=preallocate, custom_storage=custom_storage
    )
    click.echo(f"# an emulated node with {len(devices)} device(s); for the processes that are to see it:")
    for name, value in node.environment().items():
        click.echo(f"export {name}={value}")


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
def show(directory: Path) -> None:
    """Who holds what on the node, and which faults are set."""
    node = EmulatedNode(directory)
    report = node.report()
    for index, (total, used) in enumerate(zip(report.device_bytes, report.used_bytes, strict=True)):
        click.echo(f"emulated device {index}: {used / 2**20:.0f} of {total / 2**20:.0f} MiB used")
    for process in report.processes:
        held = ", ".join(f"{size / 2**20:.0f} MiB on {index}" for index, size in process.bytes.items()) or "nothing"
        lost = ", lost" if process.lost else ""
        click.echo(
            f"pid {process.pid} ({process.name}, namespace {process.pid_namespace}): {process.state}{lost}; {held}"
        )
    for fault in node.faults():
        click.echo(_describe(fault))


@main.group()
def faults() -> None:
    """Set, list and clear faults."""


@faults.command("set")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("kind", type=click.Choice(sorted(_KINDS)))
@click.option("--op", default="", help="lock, checkpoint, restore, unlock, state, or a function's exported name.")
@click.option("--pid", type=int, help="For this process only.")
@click.option("--value", type=int, default=0, help="Result code, bytes a second, milliseconds or percent.")
@click.option("--skip", type=int, default=0, help="Let so many calls pass first.")
@click.option("--times", type=int, default=1, show_default=True, help="Hit so many calls; 0 = until cleared.")
def set_fault(directory: Path, kind: str, op: str, pid: int | None, value: int, skip: int, times: int) -> None:
    """Arm a fault of KIND; prints its index."""
    fault = Fault(kind=_KINDS[kind], op=op, pid=pid, value=value, skip=skip, times=times or None)
    click.echo(EmulatedNode(directory).set_fault(fault))


@faults.command("list")
@click.argument("directory", type=click.Path(path_type=Path))
def list_faults(directory: Path) -> None:
    """The faults that are set."""
    for fault in EmulatedNode(directory).faults():
        click.echo(_describe(fault))


@faults.command("clear")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("index", type=int, required=False)
def clear_faults(directory: Path, index: int | None) -> None:
    """Clear the fault INDEX, or all."""
    node = EmulatedNode(directory)
    if index is None:
        node.clear_faults()
    else:
        node.clear_fault(index)


def _describe(fault: Fault) -> str:
    name = fault.kind.name.lower().replace("_", "-")
    left = "until cleared" if fault.times is None else f"{fault.times} times more"
    who = f"pid {fault.pid}" if fault.pid else "any process"
    return f"fault {fault.index}: {name} {fault.op or 'any call'} value {fault.value}, {who}, {left}, hit {fault.fired}"


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except HotseatError as error:
        click.echo(f"{error.message}\n{error.hint}".strip(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
