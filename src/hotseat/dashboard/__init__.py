"""Pages beside inference: /ui for people, /metrics for Prometheus, /events for programs.

Belongs here: answering for those paths, from what `port.House` tells. Forbidden here: knowing the HTTP server (the
gateway's) and the actor (the daemon's).
"""

from hotseat.dashboard.port import House
from hotseat.dashboard.site import Pages

__all__ = ["House", "Pages"]
