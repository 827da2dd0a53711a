"""hotseat demo"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat demo                        on a GPU if there is one, else on the emulated driver
  hotseat demo --emulated --platform docker
  hotseat demo --store                the same with the interposer and a snapshot store
  hotseat demo --weights 4GiB         on a GPU: two engines of 4 GiB under a cap for one
"""
)
@click.option(
    "--platform",
    type=click.Choice(["process", "docker", "podman"]),
    default="process",
    show_default=True,
    help="What the engines run in. `process` needs neither root nor a container engine.",
)
@options.emulated
@click.option("--weights", metavar="SIZE", help="Device memory of each engine's weights.")
@click.option("--kv", metavar="SIZE", help="Device memory of each engine's KV cache.")
@click.option("--store", is_flag=True, help="A snapshot store moves their memory (docs/store.md). For processes.")
@options.as_json
@options.verbose
def demo(
    platform: str, emulated: bool, weights: str | None, kv: str | None, store: bool, as_json: bool, verbose: bool
) -> int:
    """Two models that do not fit together take turns on one GPU.

    Starts two demo engines and the daemon with a configuration of their own, asks one model, then the other (the
    first is parked), then the first again (the conversation goes on), and freezes an answer in the middle. Every answer
    is compared with one from the same engine alone: its next token depends on every byte of its device memory, so a
    lost byte would change the text. Ends with who sits where and what each phase took, and removes all that it started.

    Exit code 1 if any step is not as told.
    """
    from hotseat.cli import sigterm
    from hotseat.cli.story.demo import run_demo

    return sigterm.run(
        run_demo(
            platform=platform,
            emulated=emulated,
            weights=weights,
            kv=kv,
            store=store,
            as_json=as_json,
            verbose=verbose,
        )
    )
