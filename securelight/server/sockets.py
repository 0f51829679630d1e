"""Listening sockets: from an address in the config to bound sockets, and who has a port that is taken.

`host:port`, `[v6]:port`, `*:port` (both families), `unix:/path` (server/unix_sockets). A host name is bound on every
address that it resolves to, so that `localhost:8443` answers on 127.0.0.1 and ::1 alike.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from securelight.config.schema import ListenConfig
from securelight.model.errors import ConfigError
from securelight.server.unix_sockets import identity_of, listen_unix, permit, remove, unix_path


def parse_address(address: str) -> tuple[str, int]:
    """(host, port) of a listen address; host is empty for `*`.

    Errors: ConfigError.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65_535:
        raise ConfigError("listen", f"{address!r} is not host:port, [v6]:port or *:port")
    host = host.removeprefix("[").removesuffix("]")
    return ("" if host == "*" else host), int(port)


def bind(address: str, backlog: int) -> list[socket.socket]:
    """Sockets that listen on `address`; several for a name with several addresses, all on one port.

    Errors: ConfigError for an address that cannot be used; OSError with EADDRINUSE if the port is taken.
    """
    path = unix_path(address)
    if path is not None:
        return [listen_unix(path, backlog)]
    host, port = parse_address(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # UnicodeError: an empty or overlong label
        reason = getattr(error, "strerror", None) or error
        raise ConfigError("listen", f"{address!r} cannot be resolved: {reason}") from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _name, target in dict.fromkeys(found):
            bound_port = sockets[0].getsockname()[1] if sockets else target[1]
            try:
                sockets.append(_listen(family, kind, protocol, (target[0], bound_port, *target[2:]), backlog))
            except OSError as error:
                # A machine without IPv6 still serves on IPv4.
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(found) > 1:
                    continue
                raise
    except OSError:
        for one in sockets:
            one.close()
        raise
    if not sockets:
        raise ConfigError("listen", f"{address!r} is no address of this machine")
    return sockets


def _listen(family: int, kind: int, protocol: int, target: tuple[object, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what is accepted
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(target)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


class BoundSockets:
    """The listening sockets of a server, by address; they outlive the workers and the configurations.

    Args:
        bound: sockets that are bound already, by address; owned from now on.
    """

    def __init__(self, bound: Mapping[str, list[socket.socket]]) -> None:
        self._by_address = dict(bound)
        self._made: dict[str, tuple[int, int]] = {}
        """Which files our unix sockets are, by address."""

    def bind_all(self, listens: Sequence[ListenConfig]) -> list[tuple[ListenConfig, socket.socket]]:
        """The sockets of `listens`; what is not bound yet is bound, all of it or nothing.

        Errors: ConfigError, naming the address and, as far as that can be seen, who has it.
        """
        fresh: dict[str, list[socket.socket]] = {}
        result: list[tuple[ListenConfig, socket.socket]] = []
        try:
            for listen in listens:
                address = listen.address
                sockets = self._by_address.get(address) or fresh.get(address)
                if sockets is None:
                    try:
                        sockets = fresh[address] = bind(address, listen.backlog)
                    except OSError as error:
                        raise ConfigError(f"listen {address}", _why_not(address, error)) from error
                permit(listen)
                result += [(listen, sock) for sock in sockets]
        except BaseException:
            failed = BoundSockets({})
            failed._take(fresh)
            failed.close()
            raise
        self._take(fresh)
        return result

    def _take(self, fresh: Mapping[str, list[socket.socket]]) -> None:
        self._by_address.update(fresh)
        for address in fresh:
            path = unix_path(address)
            if path is not None:
                self._made[address] = identity_of(path)

    def keep(self, addresses: Collection[str]) -> None:
        """Close those of all other addresses, and remove the files of theirs that are unix sockets."""
        for address in [address for address in self._by_address if address not in addresses]:
            path = unix_path(address)
            if path is not None and address in self._made:
                remove(path, self._made.pop(address))
            for sock in self._by_address.pop(address):
                sock.close()

    def close(self) -> None:
        """Close all."""
        self.keep(())


def port_of(sock: socket.socket) -> int:
    """The port that a socket listens on; that of https for a unix socket."""
    name = sock.getsockname()
    return 443 if isinstance(name, str) else int(name[1])


def shown(sock: socket.socket) -> str:
    """Where a socket listens, as it stands in a configuration."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _why_not(address: str, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "needs more rights: use a port above 1023, start as root with server.user set, or setcap"
    if error.errno != errno.EADDRINUSE:
        return f"cannot be used: {error.strerror}"
    port = parse_address(address)[1]
    if _holds_one(Path("/proc/self"), _listening_inodes(port)):
        return "overlaps an address of this server on the same port; that change takes a restart"
    return f"is taken by {who_listens(port) or 'another process'}"


def who_listens(port: int) -> str:
    """`name (process 1234)` of who listens on TCP `port` here, as far as /proc lets us see; empty otherwise."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds_one(process, inodes):
            with contextlib.suppress(OSError):  # gone already
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _holds_one(process: Path, inodes: set[str]) -> bool:
    """Whether a process has one of these sockets; False if it is another user's and does not say."""
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed already, such as that of this listing in our own
                if os.readlink(descriptor).removeprefix("socket:[").removesuffix("]") in inodes:
                    return True
    return False


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            listening = columns[3] == "0A"
            if listening and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes
