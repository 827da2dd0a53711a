"""hotseat doctor [NAME]"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Each line is ok, warn (works, but not for everything) or fail (will not work), with the reason and the way out.
Exit code 1 if anything fails.

\b
Examples:
  hotseat doctor                the machine and every container on it
  hotseat doctor llama          the machine, and whether llama can be parked
  hotseat doctor --json | jq '.findings[] | select(.level == "fail")'
"""
)
@click.argument("name", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Only what warns or fails.")
@options.as_json
def doctor(name: str | None, quiet: bool, as_json: bool) -> int:
    """What would not work here, and why, before it is tried.

    Looks at the driver and its checkpoint API, the GPUs, rights, cgroups, host memory, container platforms, and at
    each container: unified memory, MIG, MPS, IPC, debuggers, and its memory limit against what parking would need.
    Touches nothing.
    """
    import asyncio
    import json

    from hotseat.cli.doctor import look
    from hotseat.cli.doctor.judge import exit_code
    from hotseat.cli.doctor.show import show

    findings = asyncio.run(look.look(name))
    if as_json:
        ok = exit_code(findings) == 0
        click.echo(json.dumps({"ok": ok, "findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        show(findings, quiet=quiet)
    return exit_code(findings)
