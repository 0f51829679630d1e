"""The keys of `[server.access_log]` and of `[site.log]`; config/logs has what they come to."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

STANDARD: Final = "-"
"""Standard output, in place of a file."""


class LogOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the logs of the server and of a site have in common."""

    syslog: str = ""
    """Send lines to syslog (RFC 5424): a socket such as "/dev/log", "udp://192.0.2.1:514" or "tcp://192.0.2.1:601"."""
    syslog_facility: str = "daemon"
    journal: str = ""
    """Send lines to journald: its socket, "/run/systemd/journal/socket"."""
    command: list[str] = []
    """Start this program, and write lines to its standard input: program and arguments, no shell."""
    one_in: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    """Of the requests that went well (status below 400), write one in so many. Errors are always written."""
    slow_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Requests that take longer are told in the event log, whatever the format; 0 for none. The time that a slow client
    takes to receive its answer counts."""
    query: Literal["logged", "hidden"] = "logged"
    """Whether the part of URLs behind the question mark is written, that of Referer included."""


class AccessLogConfig(LogOptions, frozen=True, forbid_unknown_fields=True):
    """`[server.access_log]`: `file = "-"` is standard output; format `off` writes nothing."""

    format: str = "combined"
    """combined, common, vhost_combined, json, off, or a template such as '{method} {path} {status}'."""
    file: Annotated[str, msgspec.Meta(min_length=1)] = STANDARD


class SiteLogConfig(LogOptions, frozen=True, forbid_unknown_fields=True):
    """`[site.log]`: a log for this site or route; what it does not say is as in `[server.access_log]`."""

    format: str = ""
    file: str = ""
