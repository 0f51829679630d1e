"""What systemd, or another service manager, is told: ready, reloading, stopping, still alive (sd_notify(3)).

Datagrams to the unix socket that NOTIFY_SOCKET names, from the supervisor alone: the variables are taken out of the
environment, so that neither workers nor what they run speak in its name.
"""

from __future__ import annotations

import math
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

MOST_PINGS_PER_INTERVAL = 2
"""The manager's own advice: half of its patience."""


class ServiceManager:
    """Who started the server and wants to hear of it; nobody, if `environment` does not name a socket.

    Args:
        environment: of the process; what concerns us is taken out of it.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = environment.pop("WATCHDOG_USEC", "")
        for_us = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        wanted = bool(self._address) and for_us and microseconds.isdigit() and int(microseconds) > 0
        self._interval_seconds = int(microseconds) / 1e6 / MOST_PINGS_PER_INTERVAL if wanted else math.inf
        self.next_ping = 0.0 if wanted else math.inf
        """When `alive` has something to say again (time.monotonic()); never if nobody watches."""

    def ready(self, status: str) -> None:
        """It serves, for the first time or after a reload; `status` is for people."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` follows, however it ends."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """It takes no more clients."""
        self._tell("STOPPING=1")

    def alive(self, now: float) -> None:
        """The loop goes round; tells the watchdog if that is due at `now`."""
        if now >= self.next_ping:
            self.next_ping = now + self._interval_seconds
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # a manager that does not listen must not stop the server
