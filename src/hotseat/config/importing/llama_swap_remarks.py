"""What a llama-swap configuration may say that has no equivalent here, and what comes nearest. Data only.

Written against llama-swap's config.example.yaml of November 2026; names of earlier versions are known too.
"""

from __future__ import annotations

NOTHING = "has no equivalent"
_TOGETHER = "hotseat seats together whatever fits"

GENERAL = {
    "matrix": f"{_TOGETHER}; use `pinned` and `priority` for who must stay",
    "peers": "hotseat serves this host's engines only; put a router in front for others",
    "sendLoadingState": "a waiting stream gets SSE comments instead (`gateway.keepalive`)",
    "includeAliasesInList": "/v1/models lists every name",
    "metricsMaxInMemory": "hotseat keeps Prometheus metrics at /metrics",
    "store": "hotseat keeps no list of requests; Prometheus metrics are at /metrics",
    "performance": "devices and workloads are measured once a second, for /ui and /metrics",
    "ui": "the page at /ui shows no list of requests",
    "upstream": "whatever is asked of /upstream/NAME seats NAME; `gateway.upstream: false` turns it off",
    "tailcat": "hotseat listens at `gateway.host` and `gateway.port` only",
    "captureBuffer": NOTHING,
    "logLevel": "`hotseat up --verbose` logs more",
    "logToStdout": "`hotseat logs NAME` shows an engine's output",
    "logTimeFormat": NOTHING,
    "logRequests": NOTHING,
    "profiles": f"{_TOGETHER}; to lead a name elsewhere, move it to that workload's `models`: a reload counts at once",
}
"""By the name at the top of the file."""

MODEL = {
    "useModelName": "the engine gets the name that the client sent: give it that one too (--alias, "
    "--served-model-name), or ask for this one",
    "filters": "bodies pass as they are; nothing is removed from or set in them",
    "concurrencyLimit": "`keys.NAME.max_concurrent` limits a bearer, `max_queue` who waits",
    "unlisted": "every model is listed; `keys.NAME.models` says who may use it",
    "name": "/v1/models shows no display name",
    "description": "/v1/models shows no description",
    "metadata": "/v1/models shows none",
    "capabilities": "/v1/models shows none",
    "compat": "a WebSocket seats its workload like any request",
    "sendLoadingState": "a waiting stream gets SSE comments instead (`gateway.keepalive`)",
    "timeouts": "`gateway.max_silence` is how long an engine may say nothing",
}
"""By the name under a model."""

KNOWN_MODEL = frozenset(
    {*MODEL, "cmd", "cmdStop", "proxy", "aliases", "env", "ttl", "unloadTimeout", "checkEndpoint", "macros"}
)
KNOWN_GENERAL = frozenset(
    {
        *GENERAL,
        "models",
        "macros",
        "groups",
        "hooks",
        "apiKeys",
        "startPort",
        "globalTTL",
        "unloadTimeout",
        "healthCheckTimeout",
        "routing",
        "selectors",
    }
)

TOGETHER = f"{_TOGETHER}, and parks the others"
MATRIX = GENERAL["matrix"]
