"""hotseat: containers that hold a GPU take turns on it, and none of them notices but for time.

Layers, top to bottom; an import may only point down (checked by import-linter):

    cli                 commands, tables, exit codes
    bench               measures swaps
    daemon, gateway     the single writer and the OpenAI-compatible front
    scheduler           who sits; pure
    swap                the transaction: steps with their undo, journal, verification
    platforms           docker | podman | process
    linux               process trees, identity, freezers, memory
    gpu                 checkpoint API and device truth
    config, events, errors, words     used by all, using none of the above
"""

from hotseat import hotpath as _hotpath

_hotpath.install()


def __getattr__(name: str) -> str:
    """`__version__`, looked up when asked for: importlib.metadata alone would be half of the command's start."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hotseat")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
