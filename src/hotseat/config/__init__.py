"""`hotseat.yaml`: its shape, its defaults, its mistakes with their places.

Belongs here: reading and checking the file, human units, default paths. Forbidden here: acting on any of it.
"""

from hotseat.config.gateway import Gateway, Key
from hotseat.config.hooks import Hook, Hooks
from hotseat.config.load import find, load, parse
from hotseat.config.model import Config, DeviceCap, Discovery, HostMemory, json_schema
from hotseat.config.run import Run
from hotseat.config.store import Store
from hotseat.config.workload import Defaults, Workload

__all__ = [
    "Config",
    "Defaults",
    "DeviceCap",
    "Discovery",
    "Gateway",
    "Hook",
    "Hooks",
    "HostMemory",
    "Key",
    "Run",
    "Store",
    "Workload",
    "find",
    "json_schema",
    "load",
    "parse",
]
