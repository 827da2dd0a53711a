"""Where hotseat keeps things when nobody says otherwise. The only module that knows.

root: /run/hotseat/control.sock and /var/lib/hotseat. Others: $XDG_RUNTIME_DIR/hotseat/control.sock and
$XDG_STATE_HOME/hotseat, with the fallbacks of the XDG base directory specification.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CONFIG_NAME = "hotseat.yaml"


def control_socket(*, env: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """The daemon's control socket. `HOTSEAT_CONTROL` names another."""
    env = os.environ if env is None else env
    if named := env.get("HOTSEAT_CONTROL"):
        return Path(named)
    return _runtime(env, os.geteuid() if uid is None else uid) / "control.sock"


def store_socket(*, env: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """The snapshot store's control socket. `HOTSEAT_STORE_CONTROL` names another."""
    env = os.environ if env is None else env
    if named := env.get("HOTSEAT_STORE_CONTROL"):
        return Path(named)
    return _runtime(env, os.geteuid() if uid is None else uid) / "store" / "control.sock"


def state_directory(*, env: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """Journal and logs. `HOTSEAT_STATE` names another."""
    env = os.environ if env is None else env
    if named := env.get("HOTSEAT_STATE"):
        return Path(named)
    if (os.geteuid() if uid is None else uid) == 0:
        return Path("/var/lib/hotseat")
    base = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME", "/")) / ".local/state")
    return Path(base) / "hotseat"


def config_places(*, env: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where `hotseat up` looks for hotseat.yaml, first found wins. `HOTSEAT_CONFIG` names one and only that."""
    env = os.environ if env is None else env
    if named := env.get("HOTSEAT_CONFIG"):
        return (Path(named),)
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME", "/")) / ".config")
    return (Path(CONFIG_NAME), Path(base) / "hotseat" / CONFIG_NAME, Path("/etc/hotseat") / CONFIG_NAME)


def _runtime(env: Mapping[str, str], uid: int) -> Path:
    if uid == 0:
        return Path("/run/hotseat")
    if base := env.get("XDG_RUNTIME_DIR"):
        return Path(base) / "hotseat"
    # No session manager (su, cron): a directory of ours alone, made with mode 0700 by the daemon.
    return Path(f"/tmp/hotseat-{uid}")
