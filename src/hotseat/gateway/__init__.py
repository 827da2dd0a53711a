"""The OpenAI-compatible HTTP front: holds a request, asks for its workload, streams bytes both ways.

Belongs here: HTTP towards clients and engines. Forbidden here: deciding anything. Who sits is asked of `port.Seats`,
and its answer (a lease) is good until it is given back: there is no "is it seated?" to look at first.
"""

from hotseat.gateway.app import Gateway
from hotseat.gateway.port import Lease, ModelView, Seats

__all__ = ["Gateway", "Lease", "ModelView", "Seats"]
