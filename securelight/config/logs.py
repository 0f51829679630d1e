"""Where requests are written down, and how: what `[server.access_log]` and `[site.log]` come to.

A site's log takes from the server's what it does not say itself. Logs with the same output share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from securelight.config.faults import quoted
from securelight.config.log_settings import STANDARD, AccessLogConfig, SiteLogConfig
from securelight.config.log_template import form_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securelight.config.schema import Config

FACILITIES: Final = {
    **{name: number for number, name in enumerate(("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news"))},
    **{name: number for number, name in enumerate(("uucp", "cron", "authpriv", "ftp"), 8)},
    **{f"local{number}": 16 + number for number in range(8)},
}
"""RFC 5424, section 6.2.1."""
SERVER_LOG: Final = "server.access_log"
"""The place of the settings of the server's own."""
FEATURE_NAME: Final = "log"
"""Of the feature that has a site's log."""

OutputKind = Literal["file", "syslog", "journal", "command"]


@dataclass(frozen=True, slots=True)
class Output:
    """Where lines go; those that are equal are one.

    Attributes:
        kind: what `target` names.
        target: a file ("-" is standard output), a socket or URL, or a program and its arguments.
        facility: of syslog and the journal.
        where: the key that names it, for messages.
    """

    kind: OutputKind
    target: tuple[str, ...]
    facility: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.target)}"


@dataclass(frozen=True, slots=True)
class Log:
    """One log, whole.

    Attributes:
        where: the place of its settings.
        form: a name or a template.
        output: where to; None if nothing is written.
        one_in, slow_seconds, hide_query: see LogOptions.
    """

    where: str
    form: str
    output: Output | None
    one_in: int = 1
    slow_seconds: float = 0.0
    hide_query: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but lines of one of the first formats in a file."""
        plain_output = self.output is None or self.output.kind == "file"
        return (
            self.form in ("combined", "json", "off")
            and plain_output
            and self.one_in == 1
            and not (self.slow_seconds or self.hide_query)
        )


def option_faults(settings: AccessLogConfig | SiteLogConfig) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it), besides types."""
    if settings.format or isinstance(settings, AccessLogConfig):
        for what in form_faults(settings.format):
            yield "format", what
    named = [key for key in ("syslog", "journal", "command") if getattr(settings, key)]
    if settings.file not in (STANDARD, ""):
        named.append("file")
    for key in named[1:]:
        yield key, f"{named[0]} is set too, and a log goes to one place; keep one"
    if settings.syslog and not settings.syslog.startswith("/"):
        try:
            syslog_address(settings.syslog)
        except ValueError as error:
            yield "syslog", str(error)
    if settings.syslog_facility not in FACILITIES:
        yield "syslog_facility", f"{quoted(settings.syslog_facility)} is none of {', '.join(FACILITIES)}"
    if settings.journal and not settings.journal.startswith("/"):
        yield "journal", 'is not the path of a socket; write "/run/systemd/journal/socket"'
    if settings.command and not settings.command[0]:
        yield "command", "does not begin with a program"
    if any("\0" in text for text in (settings.syslog, settings.journal, settings.file, *settings.command)):
        yield "command" if settings.command else "file", "has a zero byte in it"


def syslog_address(url: str) -> tuple[Literal["udp", "tcp"], str, int]:
    """(transport, address, port) of `udp://...` or `tcp://...`. Names are not looked up: a log waits for nobody.

    Errors: ValueError, worded for the operator.
    """
    scheme, found, rest = url.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme not in ("udp", "tcp") or not found:
        raise ValueError(
            f'{quoted(url)} is no syslog; write "/dev/log", "udp://192.0.2.1:514" or "tcp://192.0.2.1:601"'
        )
    if not colon or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise ValueError(f"{quoted(url)} has no port; syslog has 514 over UDP and 601 over TCP")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"{quoted(host)} is not an IP address; names are not looked up here") from None
    return ("udp" if scheme == "udp" else "tcp"), str(address), int(port)


def site_logs(config: Config) -> dict[str, tuple[SiteLogConfig, Path]]:
    """The settings of every log that is not the server's, with the folder that its paths start from; by their place."""
    found: dict[str, tuple[SiteLogConfig, Path]] = {}
    for site in config.sites:
        for route in site.routes:
            for item in route.features:
                if item.name == FEATURE_NAME and isinstance(item.settings, SiteLogConfig):
                    found[item.where] = item.settings, site.base
    return found


def server_log(config: Config) -> Log:
    """That of the server."""
    own = config.server.access_log
    output = None if own.format == "off" else _output(own, config.base)
    return Log(SERVER_LOG, own.format, output, own.one_in, own.slow_seconds, own.query == "hidden")


def logs_of(config: Config) -> dict[str, Log]:
    """All logs by their place; the server's has the empty one, and comes first."""
    first = server_log(config)
    logs = {"": first}
    for where, (settings, base) in site_logs(config).items():
        form = settings.format or first.form
        if form == "off":
            output = None
        else:
            output = _output(settings, base) or first.output or _output(config.server.access_log, config.base)
        slow_seconds = settings.slow_seconds or first.slow_seconds
        hidden = first.hide_query or settings.query == "hidden"
        logs[where] = Log(where, form, output, settings.one_in, slow_seconds, hidden)
    return logs


def _output(settings: AccessLogConfig | SiteLogConfig, base: Path) -> Output | None:
    facility = FACILITIES.get(settings.syslog_facility, 0)
    if settings.syslog:
        return Output("syslog", (settings.syslog,), facility)
    if settings.journal:
        return Output("journal", (settings.journal,), facility)
    if settings.command:
        return Output("command", tuple(settings.command))
    if not settings.file:
        return None
    return Output("file", (settings.file if settings.file == STANDARD else str(base / settings.file),))
