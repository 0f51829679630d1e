"""Reads `[[site]]` tables: host names, certificates, and what answers at which path.

Features may stand in the site itself, where they make the route `/`, and in its `[[site.route]]`s. A route has the
stages and filters of its site, but for those that it sets itself, and a handler of its own. Several routes may have the
same path, if all but one of them have conditions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from securelight.config.check import normalise_host, normalise_route_path
from securelight.config.conditions import condition_faults
from securelight.config.convert import hints_of
from securelight.config.faults import quoted
from securelight.config.schema import (
    SHORTHANDS,
    ClientCertificates,
    FeatureConfig,
    RouteConfig,
    RouteKeys,
    SiteConfig,
    SiteKeys,
)
from securelight.model.forwarded import parse_networks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from securelight.config.convert import Converter
    from securelight.config.faults import Where
    from securelight.config.schema import FeatureRow

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
Keys = TypeVar("Keys")


class _Scope(NamedTuple):
    """The features that stand in one site or route table."""

    features: dict[str, FeatureConfig]
    """Those without a fault, by name."""
    handlers: list[str]
    """The keys of the handlers that were written, those with faults too."""


class SiteReader:
    """Reads sites one by one; remembers their hosts, to find those that two sites claim.

    Args:
        rows: the feature table.
        converter: converts tables and collects faults.

    Attributes:
        hosts: those that are taken, each with its place.
    """

    def __init__(self, rows: Sequence[FeatureRow], converter: Converter) -> None:
        self._rows = {row.name: row for row in rows}
        self._shorthands = {key: name for key, (name, _) in SHORTHANDS.items() if name in self._rows}
        self._converter = converter
        self._faults = converter.faults
        self.hosts: dict[str, Where] = {}

    def read(self, value: object, where: Where, base: Path) -> SiteConfig | None:
        """What is good of the site in the table `value`, its faults being reported; None if it is no table.

        Args:
            value: what stands at `where`.
            where: the place of the table.
            base: the directory that its relative paths start from.
        """
        table = self._converter.as_table(value, where)
        if table is None:
            return None
        before = len(self._faults)
        keys = self._own_keys(table, SiteKeys, where, also=("route",))
        hosts = self._read_hosts(table, where)
        if not table.get("certificate", []):
            self._faults.add(
                where.key("certificate"),
                'is missing: add [[site.certificate]] with chain = "..." and key = "..."',
            )
        routes = self._read_routes(table, where, before)
        if keys is None:
            return SiteConfig(hosts, (), routes, base, str(where))
        clients = self._client_certificates(table, keys, where)
        proxies = self._trusted_proxies(keys, where)
        return SiteConfig(hosts, tuple(keys.certificate), routes, base, str(where), keys.tls, clients, proxies)

    def _trusted_proxies(self, keys: SiteKeys, where: Where) -> tuple[str, ...]:
        try:
            parse_networks(keys.trusted_proxies)
        except ValueError as error:
            self._faults.add(where.key("trusted_proxies"), str(error))
            return ()
        return tuple(keys.trusted_proxies)

    def _client_certificates(self, table: dict[str, object], keys: SiteKeys, where: Where) -> ClientCertificates | None:
        if keys.client_certificates == "off":
            for key in ("client_ca", "client_crl", "client_user_from", "client_users"):
                if key in table:
                    what = 'does nothing without client_certificates = "required" or "optional"; add that, or remove it'
                    self._faults.add(where.key(key), what)
            return None
        if not keys.client_ca:
            self._faults.add(
                where.key("client_ca"),
                "is missing: name the file with the certificates of the authorities that vouch for clients",
            )
        required = keys.client_certificates == "required"
        users = tuple(self._client_users(keys, where.key("client_users")))
        return ClientCertificates(required, keys.client_ca, keys.client_crl, keys.client_user_from, users)

    def _client_users(self, keys: SiteKeys, where: Where) -> Iterator[tuple[str, str]]:
        if keys.client_users and keys.client_user_from == "none":
            self._faults.add(
                where, 'does nothing with client_user_from = "none"; name what of a certificate to look up'
            )
        for written, user in keys.client_users.items():
            name = written
            if keys.client_user_from == "fingerprint":
                name = written.replace(":", "").lower()
                if not _FINGERPRINT.fullmatch(name):
                    what = "is not the SHA-256 of a certificate, 64 hexadecimal digits; see: securelight certs inspect"
                    self._faults.add(where, f"{quoted(written)} {what}")
            if not user or not user.isprintable():
                self._faults.add(where, f"the name of the user for {quoted(written)} has to be printable text")
            yield name, user

    def _own_keys(
        self, table: dict[str, object], kind: type[Keys], where: Where, also: tuple[str, ...] = ()
    ) -> Keys | None:
        own = hints_of(kind)
        known = dict.fromkeys((*own, *also, *self._shorthands, *self._rows))
        for key in table:
            if key not in known:
                self._converter.unknown(key, where, known)
        return self._converter.table({key: item for key, item in table.items() if key in own}, kind, where)

    def _read_hosts(self, table: dict[str, object], where: Where) -> tuple[str, ...]:
        written = table.get("hosts")
        if not isinstance(written, list):
            return ()
        where = where.key("hosts")
        if not written:
            self._faults.add(where, 'is empty; name the hosts of this site, or write hosts = ["*"] for all of them')
        hosts: list[str] = []
        for index, text in enumerate(written):
            if not isinstance(text, str):
                continue
            try:
                host = normalise_host(text)
            except ValueError as error:
                self._faults.add(where.item(index), str(error))
                continue
            taken = self.hosts.setdefault(host, where.item(index))
            if taken != where.item(index):
                self._faults.add(where.item(index), f"{quoted(host)} is already the host of {taken}")
            hosts.append(host)
        return tuple(hosts)

    def _read_routes(self, table: dict[str, object], where: Where, before: int) -> tuple[RouteConfig, ...]:
        site = self._read_features(table, where)
        written = self._converter.as_tables(table["route"], where.key("route")) if "route" in table else []
        routes: list[RouteConfig] = []
        places: dict[str, Where] = {}
        if site.handlers or not written:
            self._check_handlers(site.handlers, where, before)
            routes.append(RouteConfig("/", self._in_order(site.features), str(where)))
            places["/"] = where
        inherited = {name: item for name, item in site.features.items() if item.kind != "handler"}
        for index, value in enumerate(written):
            place = where.key("route").item(index)
            route = self._read_route(value, place, inherited)
            if route is None:
                continue
            taken = place if route.when is not None else places.setdefault(route.path, place)
            if taken is where:
                self._faults.add(
                    place.key("path"),
                    f'the site has a handler of its own, {quoted(site.handlers[0])}, for "/"; keep one',
                )
            elif taken is not place:
                self._faults.add(place.key("path"), f"{quoted(route.path)} is already the path of {taken.path}")
            routes.append(route)
        return tuple(routes)

    def _read_route(self, value: object, where: Where, inherited: dict[str, FeatureConfig]) -> RouteConfig | None:
        table = self._converter.as_table(value, where)
        if table is None:
            return None
        before = len(self._faults)
        keys = self._own_keys(table, RouteKeys, where)
        scope = self._read_features(table, where)
        self._check_handlers(scope.handlers, where, before)
        if keys is None:
            return None
        try:
            path = normalise_route_path(keys.path)
        except ValueError as error:
            self._faults.add(where.key("path"), str(error))
            return None
        if keys.when is not None:
            for what in condition_faults(keys.when):
                self._faults.add(where, what)
        return RouteConfig(path, self._in_order(inherited | scope.features), str(where), keys.when)

    def _read_features(self, table: dict[str, object], where: Where) -> _Scope:
        scope = _Scope({}, [])
        for name in self._rows:
            short = next((key for key, meant in self._shorthands.items() if meant == name and key in table), None)
            written = table.get(name)
            if short is None and name in table:
                self._read_feature(scope, name, name, written, where.key(name))
            elif short is not None and name not in table:
                self._read_feature(scope, short, name, {short: table[short]}, where)
            elif short is not None and isinstance(written, dict):
                if short in written:
                    self._faults.add(where.key(short), f"is the same as {name}.{short}, which is set too; keep one")
                self._read_feature(scope, name, name, {short: table[short]} | written, where.key(name))
        return scope

    def _read_feature(self, scope: _Scope, key: str, name: str, value: object, where: Where) -> None:
        row = self._rows[name]
        if row.kind == "handler":
            scope.handlers.append(key)
        settings = self._converter.table(value, row.config_class, where)
        if settings is not None:
            place = where if key == name else where.key(key)
            scope.features[name] = FeatureConfig(name, row.kind, settings, str(place))

    def _check_handlers(self, handlers: list[str], where: Where, before: int) -> None:
        if len(handlers) == 1 or (not handlers and len(self._faults) != before):
            return  # without a handler because its key is misspelt or in the wrong table: one fault tells enough
        if handlers:
            listed = " and ".join(quoted(key) for key in handlers)
            self._faults.add(
                where,
                f"has {len(handlers)} handlers, {listed}, where only one can answer; keep one, or give the other a "
                f"[[site.route]] with a path of its own",
            )
            return
        short = self._shorthands.keys()
        available = [*short, *(row.name for row in self._rows.values() if row.kind == "handler")]
        self._faults.add(where, f"says nothing that answers requests; add one of {', '.join(available)}")

    def _in_order(self, features: dict[str, FeatureConfig]) -> tuple[FeatureConfig, ...]:
        return tuple(features[name] for name in self._rows if name in features)
