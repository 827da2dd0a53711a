"""The entry point: finds the command, runs it, and turns whatever it raises into words and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from hotseat.cli import problems

COMMANDS = (
    *("demo", "doctor", "ps", "top", "park", "seat", "swap", "prewarm"),
    *("up", "reload", "down", "logs", "events", "key", "config", "import", "store", "bench", "simulate"),
)
"""In the order of the help; each lives in the module `hotseat.cli.commands.NAME` under its own name."""

EPILOG = """\b
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused for safety (nothing was touched).

\b
Examples:
  hotseat demo                  see it work, with or without a GPU
  hotseat doctor                what would not work on this machine, and why
  hotseat park llama            free the GPU; the container keeps everything else
  hotseat seat llama            ... and takes it back where it stopped
  hotseat up -c hotseat.yaml    the daemon: models take turns as requests come in
"""


class Commands(click.Group):
    """A group that imports a command when it is asked for, in the order given."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = "import_" if cmd_name == "import" else cmd_name  # a word of Python's own
        command = getattr(import_module(f"hotseat.cli.commands.{module}"), module)
        assert isinstance(command, click.Command)
        return command


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from hotseat import __version__

        click.echo(f"hotseat {__version__}")
        ctx.exit()


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Containers that hold a GPU take turns on it, and none of them notices but for time.

    A workload (one container or process tree) that is not needed is parked: it gives up the whole GPU and keeps its
    processes, its loaded model, its KV cache and its open connections. Seated again it goes on where it stopped.
    """


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code. Never raises but for bugs in the drawing of errors."""
    args = sys.argv[1:] if arguments is None else arguments
    try:
        result: Any = cli.main(args=args, prog_name="hotseat", standalone_mode=False)
    except BaseException as error:
        return problems.report(error, as_json="--json" in args, verbose="--verbose" in args or "-v" in args)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    sys.exit(run())
