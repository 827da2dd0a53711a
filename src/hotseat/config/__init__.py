"""`hotseat.yaml`: its shape, its defaults, its mistakes with their places.

Belongs here: reading and checking the file, human units, default paths. Forbidden here: acting on any of it.
"""

from hotseat.config.load import find, load, parse
from hotseat.config.model import Config, Defaults, DeviceCap, Gateway, Workload, json_schema

__all__ = ["Config", "Defaults", "DeviceCap", "Gateway", "Workload", "find", "json_schema", "load", "parse"]
