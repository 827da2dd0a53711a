"""hotseat park NAME"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat park llama            a container (Docker or Podman) by its name or id
  hotseat park podman:llama     ... if both platforms have one of that name
  hotseat park 4711             a bare process and its children
  hotseat park llama --json     phases, bytes and times as data
  hotseat park llama --whole    its context leaves too, or now, if it stayed (docs/store.md)
"""
)
@click.argument("name")
@click.option("--whole", is_flag=True, help="Leave nothing on the GPU, also no context (`context: keep`).")
@options.as_json
@options.verbose
@options.access
def park(name: str, whole: bool, as_json: bool, verbose: bool, control: str | None, no_daemon: bool) -> None:
    """Take NAME off the GPU; it keeps everything else.

    Its GPU memory moves into its own host memory and every thread is frozen. Processes, model, KV cache and open
    connections stay. A request in flight freezes too and goes on after `hotseat seat NAME`.

    Before anything irreversible happens a failure leaves the workload running as if nothing had been. Nothing is
    touched at all if a rule forbids it (exit code 4); `hotseat doctor NAME` tells beforehand.
    """
    from hotseat.cli.swapping import run_swap

    run_swap(
        lambda access, progress: access.park(name, whole=whole, progress=progress),
        title=f"parking {name}",
        as_json=as_json,
        verbose=verbose,
        control=control,
        no_daemon=no_daemon,
    )
