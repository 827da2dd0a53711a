"""hotseat: containers that hold a GPU take turns on it, and none of them notices but for time.

Layers, top to bottom; an import may only point down (checked by import-linter):

    cli                 commands, tables, exit codes
    daemon, gateway     the single writer and the OpenAI-compatible front
    scheduler           who sits; pure
    swap                the transaction: steps with their undo, journal, verification
    platforms           docker | podman | process
    linux               process trees, identity, freezers, memory
    gpu                 checkpoint API and device truth
    config, events, errors, words     used by all, using none of the above
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hotseat")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
