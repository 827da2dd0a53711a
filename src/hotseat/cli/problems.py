"""How a failure is told: message, rule, hint on the terminal (or as JSON), and the exit code that goes with it."""

from __future__ import annotations

import json
import os
import sys
import traceback

import click

from hotseat.errors import HotseatError

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


def exit_code(error: BaseException) -> int:
    """0 done, 1 failed, 2 usage, 3 not found, 4 refused for safety (errors.py names them)."""
    match error:
        case HotseatError() | click.ClickException():
            return error.exit_code
        case click.exceptions.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else 1
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED
        case _:
            return 1


def report(error: BaseException, *, as_json: bool, verbose: bool) -> int:
    """Tell the error and return the exit code. With `as_json` the error is data and goes to standard output."""
    code = exit_code(error)
    match error:
        case click.exceptions.Exit() | SystemExit():
            pass
        case click.ClickException():
            error.show()
        case HotseatError() if as_json:
            click.echo(json.dumps({"error": error.as_dict()}))
        case HotseatError():
            click.echo(text(error, color=sys.stderr.isatty()), err=True)
            if verbose:
                traceback.print_exception(error)
        case KeyboardInterrupt() | click.Abort():
            click.echo("interrupted", err=True)
        case BrokenPipeError():
            # The reader left (`hotseat ps | head`): nothing to say, and nothing may be flushed to it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case _:
            traceback.print_exception(error)
            click.echo("this is a bug in hotseat; please report it with the lines above", err=True)
    return code


def text(error: HotseatError, *, color: bool = False) -> str:
    """What happened, which rule forbids it, what caused it, what to do; one line each."""

    def label(word: str, **style: object) -> str:
        return click.style(word, **style) if color else word  # type: ignore[arg-type]

    lines = [f"{label('error:', fg='red', bold=True)} {error.message}"]
    if error.rule:
        lines.append(f" {label('rule:', fg='yellow')} {error.rule}")
    cause = error.__cause__
    if isinstance(cause, HotseatError) and cause.message not in error.message:
        lines.append(f"cause: {cause.message}")
    hint = error.hint or (cause.hint if isinstance(cause, HotseatError) else "")
    if hint:
        lines.append(f" {label('hint:', fg='green')} {hint}")
    return "\n".join(lines)
