"""What the service manager is told: sd_notify(3), which is one datagram to the socket that $NOTIFY_SOCKET names.

Without that variable (a terminal, a container) nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """`environ`: where NOTIFY_SOCKET and WATCHDOG_USEC stand."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        self._address = env.get("NOTIFY_SOCKET", "")
        ours = env.get("WATCHDOG_PID") in (None, str(os.getpid()))
        usec = env.get("WATCHDOG_USEC", "")
        self.watchdog: float | None = int(usec) / 1e6 if ours and usec.isdecimal() and int(usec) else None
        """Seconds within which a sign of life is wanted; None: none is."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={_line(text)}")

    def reloading_or_ready(self, reloading: bool) -> None:
        """Both ends of a reload."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}" if reloading else "READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    async def stay_alive(self) -> None:
        """A sign of life as often as wanted, from this event loop: one that hangs sends none. For ever."""
        if self.watchdog is None:
            await asyncio.Event().wait()
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep((self.watchdog or 0.0) / 3)

    def _send(self, text: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), address)
            except OSError:
                return  # a manager that went away, or is behind: it is told again at the next occasion


def _line(text: str) -> str:
    return " ".join(text.split())
