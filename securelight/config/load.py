"""Reads a configuration: the main file, `conf.d/*.toml` beside it, and the environment, into one frozen Config.

Everything that is wrong is reported at once. Nothing that the configuration names is opened here (certificates, roots,
logs): that is for the commands that use it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from securelight.config.check import parse_address
from securelight.config.convert import Converter, hints_of
from securelight.config.environment import apply_environment, place_of
from securelight.config.explain import is_finite
from securelight.config.faults import ConfigFaults, Faults, Where, quoted
from securelight.config.geoip import GeoipConfig
from securelight.config.log_settings import AccessLogConfig
from securelight.config.logs import option_faults
from securelight.config.read import read_documents
from securelight.config.schema import (
    SHORTHANDS,
    SOCKET_MODE,
    CertificateFiles,
    Config,
    ListenConfig,
    RouteKeys,
    SandboxConfig,
    ServerConfig,
    SiteConfig,
    SiteKeys,
)
from securelight.config.sites import SiteReader
from securelight.config.tcp import TcpConfig, read_tcp
from securelight.config.unix_sockets import folder_fault, group_fault
from securelight.model import limits
from securelight.model.errors import ConfigError
from securelight.model.forwarded import parse_networks
from securelight.model.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from securelight.config.read import Document
    from securelight.config.schema import FeatureRow

_TOP_LEVEL: Final = {"include": None, "server": None, "listen": None, "site": None, "tcp": None}


def load(path: Path, features: Sequence[FeatureRow], environment: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file `path` (or every `*.toml` in the directory `path`).

    Args:
        path: the main file. Relative paths in a file start from the directory of that file.
        features: the feature table.
        environment: variables that override `[server]`; by default those of this process.

    Errors: ConfigFaults with everything that is wrong.
    """
    loaded = load_leniently(path, features, environment)
    if loaded.faults:
        raise ConfigFaults(loaded.faults)
    return loaded.config


class Loaded(NamedTuple):
    """What `load_leniently` found."""

    config: Config
    """All that is good of it; what has a fault is left out or has its default."""
    faults: tuple[ConfigError, ...]
    server_where: Where
    """The place of `[server]`, or where it would be."""


def load_leniently(path: Path, features: Sequence[FeatureRow], environment: Mapping[str, str] | None = None) -> Loaded:
    """As `load`, but gives the faults and what is good beside them, for checks that go on after the first fault."""
    loader = _Loader(features, os.environ if environment is None else environment)
    config = loader.load(path)
    return Loaded(config, loader.faults.all(), loader.server_where)


class _Loader:
    """One run of `load`."""

    def __init__(self, features: Sequence[FeatureRow], environment: Mapping[str, str]) -> None:
        self.faults = Faults()
        self.server_where = Where("environment")
        self._environment = environment
        self._converter = Converter(self.faults, _headers(features))
        self._sites = SiteReader(features, self._converter)

    def load(self, path: Path) -> Config:
        base = path.absolute() if path.is_dir() else path.absolute().parent
        documents = read_documents(path, self.faults, self._environment)
        if not documents:
            return Config(ServerConfig(), (), (), base)
        whole = not self.faults
        for document in documents:
            for key in document.table:
                if key not in _TOP_LEVEL:
                    self._converter.unknown(key, document.where, _TOP_LEVEL)
        server = self._server(documents)
        listens = self._listens(documents, whole=whole)
        sites = self._read_sites(documents, whole=whole)
        tcp = self._tcp(documents)
        return Config(server, listens, sites, base, [document.path for document in documents], tcp)

    def _server(self, documents: list[Document]) -> ServerConfig:
        having = [document for document in documents if "server" in document.table]
        first = having[0] if having else documents[0]
        for document in having[1:]:
            self.faults.add(
                document.where.key("server"), f"[server] is already in {first.where.file}; keep one of the two"
            )
        self.server_where = where = first.where.key("server")
        written = self._converter.as_table(first.table.get("server", {}), where)
        if written is None:
            return ServerConfig()
        table = apply_environment(written, self._environment, self._converter)
        server = self._converter.table(table, ServerConfig, where)
        self._check_limits(table.get("limits"), where)
        for key, what in option_faults(server.access_log) if server is not None else ():
            self.faults.add(place_of(("access_log", key), self._environment, where), what)
        return ServerConfig() if server is None else _with_absolute_paths(server, first.base)

    def _check_limits(self, table: object, where: Where) -> None:
        if not isinstance(table, dict):
            return
        numbers = {
            name: table[name]
            for name in hints_of(Limits)
            if type(table.get(name)) in (int, float) and is_finite(table[name])
        }
        for name, what in limits.faults(Limits(**numbers)):
            self.faults.add(place_of(("limits", name), self._environment, where), what)

    def _listens(self, documents: list[Document], *, whole: bool) -> tuple[ListenConfig, ...]:
        listens: list[ListenConfig] = []
        places: dict[object, Where] = {}
        tables = self._tables(documents, "listen")
        for _, where, value in tables:
            listen = self._converter.table(value, ListenConfig, where)
            text = value.get("address") if isinstance(value, dict) else None
            if not isinstance(text, str):
                continue
            place = where.key("address")
            try:
                address = parse_address(text)
            except ValueError as error:
                self.faults.add(place, str(error))
                continue
            taken = places.setdefault(address, place)
            if taken is not place and (address.port != 0 or address.path):
                self.faults.add(place, f"{quoted(text)} is already listened on by {taken}")
            if listen is not None:
                self._check_balancers(listen, where)
                self._check_socket(listen, address.path, where)
                listens.append(listen)
        if whole and not any("listen" in document.table for document in documents):
            self.faults.add(documents[0].where, 'has no [[listen]]; add one with address = "localhost:8443"')
        if listens and not self.faults and all(listen.plain_http == "redirect" for listen in listens):
            self.faults.add(tables[0][1], "only redirects, and nothing listens for https; add another [[listen]]")
        return tuple(listens)

    def _check_socket(self, listen: ListenConfig, path: str, where: Where) -> None:
        if not path:
            for key, default in (("socket_mode", SOCKET_MODE), ("socket_group", "")):
                if getattr(listen, key) != default:
                    self.faults.add(where.key(key), "is for unix sockets, such as unix:/run/securelight/web.sock")
            return
        if fault := folder_fault(Path(path)):
            self.faults.add(where.key("address"), fault)
        if fault := group_fault(listen.socket_group):
            self.faults.add(where.key("socket_group"), fault)

    def _check_balancers(self, listen: ListenConfig, where: Where) -> None:
        try:
            parse_networks(listen.proxy_protocol_from)
        except ValueError as error:
            self.faults.add(where.key("proxy_protocol_from"), str(error))

    def _tcp(self, documents: list[Document]) -> tuple[TcpConfig, ...]:
        found = []
        for _, where, value in self._tables(documents, "tcp"):
            tcp = self._converter.table(value, TcpConfig, where)
            if tcp is not None:
                found.append(read_tcp(tcp, where, self._sites.hosts, self.faults))
        return tuple(found)

    def _read_sites(self, documents: list[Document], *, whole: bool) -> tuple[SiteConfig, ...]:
        tables = self._tables(documents, "site")
        if whole and not any("site" in document.table for document in documents):
            self.faults.add(
                documents[0].where, 'has no [[site]]; add one with hosts = ["localhost"], a certificate and a root'
            )
        sites = [self._sites.read(value, where, document.base) for document, where, value in tables]
        return tuple(site for site in sites if site is not None)

    def _tables(self, documents: list[Document], key: str) -> list[tuple[Document, Where, object]]:
        found = []
        for document in documents:
            if key in document.table:
                where = document.where.key(key)
                for index, value in enumerate(self._converter.as_tables(document.table[key], where)):
                    found.append((document, where.item(index), value))
        return found


def _with_absolute_paths(server: ServerConfig, base: Path) -> ServerConfig:
    log = server.access_log
    if log.file not in ("-", ""):
        log = msgspec.structs.replace(log, file=str(base / log.file))
    directory = str(base / server.state_directory) if server.state_directory else ""
    sandbox = msgspec.structs.replace(
        server.sandbox,
        read=[str(base / path) for path in server.sandbox.read],
        write=[str(base / path) for path in server.sandbox.write],
    )
    geoip = GeoipConfig([str(base / path) for path in server.geoip.databases])
    return msgspec.structs.replace(server, access_log=log, state_directory=directory, sandbox=sandbox, geoip=geoip)


def _headers(features: Sequence[FeatureRow]) -> dict[str, str]:
    """Every well-known key with the header of the table that it belongs to."""
    headers: dict[str, str] = {}
    names = {row.name for row in features}
    for kind, header in (
        (SiteKeys, "[[site]]"),
        (ServerConfig, "[server]"),
        (ListenConfig, "[[listen]]"),
        (CertificateFiles, "[[site.certificate]]"),
        (RouteKeys, "[[site.route]]"),
        (AccessLogConfig, "[server.access_log]"),
        (SandboxConfig, "[server.sandbox]"),
        (GeoipConfig, "[server.geoip]"),
        (Limits, "[server.limits]"),
        (TcpConfig, "[[tcp]]"),
    ):
        headers |= {key: header for key in hints_of(kind) if key not in headers}
    headers |= {key: "[[site]]" for key, (name, _) in SHORTHANDS.items() if name in names}
    return headers | dict.fromkeys(names | {"route"}, "[[site]]")
