"""Reads the common part of lighttpd.conf: hosts, sockets, files, redirects, rewrites, aliases, proxies, fields.

The top of the file and its blocks for a host are taken; other conditions become notes, as does every setting that is
not understood.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

from securelight.config.foreign.draft import Draft, add_rule, with_captures
from securelight.config.foreign.lighttpd_syntax import parse

if TYPE_CHECKING:
    from securelight.config.foreign.includes import Includes
    from securelight.config.foreign.lighttpd_syntax import Setting

_HARMLESS: Final = frozenset({
    "accesslog.filename", "compress.cache-dir", "etag.use-inode", "mimetype.assign", "server.compat-module-load",
    "server.errorlog", "server.event-handler", "server.feature-flags", "server.http-parseopts", "server.max-fds",
    "server.modules", "server.pid-file", "server.tag", "server.upload-dirs", "ssl.cipher-list",
    "ssl.openssl.ssl-conf-cmd", "static-file.exclude-extensions",
})  # fmt: skip


def convert_lighttpd(text: str, includes: Includes | None = None) -> Draft:
    """The configuration in `text`, with what it includes, as far as it can be carried over.

    Errors: SyntaxFault.
    """
    draft = Draft()
    settings = parse(text, includes)
    _sockets(draft, settings)
    main = _Site(draft, {"hosts": ["*"]})
    main.convert([one for one in settings if one.block is None])
    for one in settings:
        if one.name == '$HTTP["url"]' and one.operator == "=~" and one.block is not None:
            main.convert(one.block, {"path_regex": str(one.value)})
    for one in settings:
        if one.block is None or (one.name == '$HTTP["url"]' and one.operator == "=~"):
            continue
        if one.name == '$HTTP["host"]' and one.operator == "==":
            site = _Site(draft, {"hosts": [str(one.value)]}, main)
            site.convert(one.block)
            draft.sites.append(site.table)
        elif one.name == '$HTTP["host"]' and one.operator == "=~" and _names(str(one.value)):
            site = _Site(draft, {"hosts": _names(str(one.value))}, main)
            site.convert(one.block)
            draft.sites.append(site.table)
        elif one.name != '$SERVER["socket"]' and not (one.name == '$HTTP["scheme"]' and one.value == "http"):
            draft.note(one.line, f"{one.name} {one.operator} {one.value} {{ ... }}")
    if "root" in main.table or not draft.sites:
        draft.sites.append(main.table)
    for table in draft.sites:
        if "route" in table:
            table["route"] = _with_programs(table["route"])
        if "certificate" not in table:
            draft.note(1, f"{', '.join(table['hosts'])} has no certificate; add [[site.certificate]]")
    return draft


def _with_programs(routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`routes`, with those of programs in the folders that stand beside the root too: their source is not shown."""
    programs = [route for route in routes if "fastcgi" in route]
    found = []
    for route in routes:
        if "root" in route:
            found += [
                program | {"path": route["path"], "fastcgi": program["fastcgi"] | {"root": route["root"]}}
                for program in programs
            ]
        found.append(route)
    return found


def _move(table: Any, before: str, after: str) -> None:
    """Put `after` where `before` is the folder that something looks in."""
    for key, value in table.items() if isinstance(table, dict) else ():
        if key in ("root", "file_exists") and value == before:
            table[key] = after
        for inner in value if isinstance(value, list) else (value,):
            _move(inner, before, after)


def _names(expression: str) -> list[str]:
    """The hosts of `^(www\\.)?example\\.org$` and `\\.example\\.org$`; none for anything else."""
    match = re.fullmatch(r"\^\(\??:?www\\\.\)\?((?:[a-z0-9-]+\\\.)+[a-z]+)\$", expression)
    if match:
        name = match[1].replace("\\", "")
        return [name, f"www.{name}"]
    match = re.fullmatch(r"(?:\(\^\|\\\.\)|\\\.)((?:[a-z0-9-]+\\\.)+[a-z]+)\$", expression)
    if match:
        name = match[1].replace("\\", "")
        return [name, f"*.{name}"] if expression.startswith("(") else [f"*.{name}"]
    return []


def _sockets(draft: Draft, settings: tuple[Setting, ...]) -> None:
    values = {one.name: one.value for one in settings if one.block is None}
    bind, port = str(values.get("server.bind", "*")) or "*", values.get("server.port", 80)
    encrypted = values.get("ssl.engine") == "enable"
    draft.listen(f"{'*' if bind in ('0.0.0.0', '::', '[::]') else bind}:{port}", redirect=not encrypted)  # noqa: S104 - read, not bound
    for one in settings:
        if one.name == '$SERVER["socket"]' and one.block is not None:
            inner = {item.name: item.value for item in one.block}
            address = str(one.value).replace("[::]", "*")
            address = f"*{address}" if address.startswith(":") else address.replace("0.0.0.0", "*")  # noqa: S104 - the same
            draft.listen(address, redirect=inner.get("ssl.engine") != "enable")
            for item in one.block:
                if not item.name.startswith("ssl."):
                    draft.note(item.line, f"{one.name} == {one.value}: {item.name}")
    if values.get("server.username"):
        draft.server["user"] = str(values["server.username"])
    if values.get("server.groupname"):
        draft.server["group"] = str(values["server.groupname"])


class _Site:
    """One site; those of a host begin with what the top of the file says."""

    def __init__(self, draft: Draft, table: dict[str, Any], parent: _Site | None = None) -> None:
        self._draft = draft
        self.table = table
        self._inherited: set[str] = set()
        if parent is not None:
            inherited = copy.deepcopy({key: value for key, value in parent.table.items() if key != "hosts"})
            table |= inherited
            self._inherited = set(inherited)

    def _add_rule(self, feature: str, rule: dict[str, Any]) -> None:
        """A table of a host stands in place of the one at the top."""
        if feature in self._inherited:
            self._inherited.remove(feature)
            del self.table[feature]
        add_rule(self.table, feature, rule)

    def convert(self, settings: tuple[Setting, ...] | list[Setting], when: dict[str, Any] | None = None) -> None:
        """Carry over `settings`; those of a path only where a rule can say so."""
        pem = {one.name: one.value for one in settings if one.name in ("ssl.pemfile", "ssl.privkey")}
        if "ssl.pemfile" in pem:
            chain = str(pem["ssl.pemfile"])
            self.table["certificate"] = [{"chain": chain, "key": str(pem.get("ssl.privkey", chain))}]
        for one in settings:
            name = one.name.replace(".", "_").replace("-", "_")
            method = getattr(self, f"_on_{name}", None)
            if one.block is not None:
                self._draft.note(one.line, f"{one.name} {one.operator} {one.value} {{ ... }} inside of another block")
            elif method is not None and (when is None or one.name == "setenv.add-response-header"):
                method(one, when)
            elif one.name in _HARMLESS or one.name.startswith(("ssl.", "var.", "debug.")) or one.name in (
                "server.port", "server.bind", "server.username", "server.groupname",
            ):  # fmt: skip
                continue
            else:
                where = f" where {when}" if when else ""
                self._draft.note(one.line, f"{one.name}{where}")

    def _on_server_document_root(self, one: Setting, _when: Any) -> None:
        before = self.table.get("root")
        self.table["root"] = str(one.value).rstrip("/") or "/"
        if before is not None:
            _move(self.table, before, self.table["root"])

    def _on_index_file_names(self, one: Setting, _when: Any) -> None:
        names = [str(value) for _, value in one.value] if isinstance(one.value, list) else []
        if names and "static_file" not in self.table:
            self.table["static_file"] = {"index": names}

    def _on_evhost_path_pattern(self, one: Setting, _when: Any) -> None:
        self.table["root"] = str(one.value).replace("%0", "{host}").replace("%_", "{host}").rstrip("/")
        if "%" in self.table["root"]:
            self._draft.note(one.line, f'{one.name} = "{one.value}"')
            del self.table["root"]

    def _on_simple_vhost_server_root(self, one: Setting, _when: Any) -> None:
        self.table["root"] = f"{str(one.value).rstrip('/')}/{{host}}"

    def _rules(self, one: Setting) -> list[tuple[str, str]]:
        if not isinstance(one.value, list):
            self._draft.note(one.line, one.name)
            return []
        rules = []
        for pattern, to in one.value:
            if not isinstance(pattern, str) or not isinstance(to, str) or "%" in to or "${" in to:
                self._draft.note(one.line, f"{one.name}: {pattern} => {to}")
            else:
                rules.append((pattern, with_captures(to)))
        return rules

    def _on_url_redirect(self, one: Setting, _when: Any) -> None:
        for pattern, to in self._rules(one):
            self._add_rule("redirect", {"when": {"path_regex": pattern}, "to": to, "status": 301})

    def _on_url_rewrite_once(self, one: Setting, _when: Any) -> None:
        for pattern, to in self._rules(one):
            self._add_rule("rewrite", {"when": {"path_regex": pattern}, "to": to})

    _on_url_rewrite = _on_url_rewrite_once
    _on_url_rewrite_final = _on_url_rewrite_once

    def _on_url_rewrite_repeat(self, one: Setting, _when: Any) -> None:
        for pattern, to in self._rules(one):
            self._add_rule("rewrite", {"when": {"path_regex": pattern}, "to": to, "repeat": True})

    def _on_url_rewrite_if_not_file(self, one: Setting, _when: Any) -> None:
        root = self.table.get("root")
        if not root:
            self._draft.note(one.line, f"{one.name} (server.document-root has to stand above it)")
            return
        for pattern, to in self._rules(one):
            when = {"path_regex": pattern, "not": {"file_exists": root}}
            self._add_rule("rewrite", {"when": when, "to": to})

    def _on_alias_url(self, one: Setting, _when: Any) -> None:
        for path, folder in one.value if isinstance(one.value, list) else []:
            route = {"path": str(path).rstrip("/") or "/", "root": str(folder)}
            self.table.setdefault("route", []).append(route)
            if str(path).endswith("/") != str(folder).endswith("/"):
                self._draft.note(one.line, f"{one.name}: {path} => {folder} (a slash at the end of one alone)")

    def _on_url_access_deny(self, one: Setting, _when: Any) -> None:
        patterns = [f"*{value}" for _, value in one.value] if isinstance(one.value, list) else []
        if patterns:
            self._add_rule("access", {"action": "deny", "when": {"path": patterns}})

    def _on_setenv_add_response_header(self, one: Setting, when: dict[str, Any] | None) -> None:
        fields = (
            {str(key).lower(): str(value) for key, value in one.value if key} if isinstance(one.value, list) else {}
        )
        if when is None:
            self.table.setdefault("set_headers", {}).setdefault("set", {}).update(fields)
        else:
            self._add_rule("set_headers", {"when": when, "set": fields})

    def _on_proxy_server(self, one: Setting, _when: Any) -> None:
        for path, backends in one.value if isinstance(one.value, list) else []:
            addresses = []
            for _, backend in backends if isinstance(backends, list) else []:
                values = dict(backend) if isinstance(backend, list) else {}
                if "host" in values:
                    addresses.append(f"http://{values['host']}:{values.get('port', 80)}")
            if not addresses or not str(path).startswith(("/", "")) or str(path).startswith("."):
                self._draft.note(one.line, f"{one.name}: {path}")
                continue
            route = str(path).rstrip("/") or "/"
            table = {"path": route, "proxy": {"upstreams": addresses}}
            if route == "/":
                for key in ("root", "static_file", "directory_listing"):
                    self.table.pop(key, None)
            self.table.setdefault("route", []).append(table)

    def _on_fastcgi_server(self, one: Setting, _when: Any) -> None:
        for suffix, backends in one.value if isinstance(one.value, list) else []:
            addresses = []
            for _, backend in backends if isinstance(backends, list) else []:
                values = dict(backend) if isinstance(backend, list) else {}
                address = (
                    f"unix:{values['socket']}" if "socket" in values else f"{values.get('host')}:{values.get('port')}"
                )
                if "None" in address:
                    self._draft.note(one.line, f"{one.name}: {suffix}")
                else:
                    addresses.append(address)
            if not addresses:
                continue
            if not str(suffix).startswith(".") or "root" not in self.table:
                self._draft.note(one.line, f"{one.name}: {suffix}")
                continue
            where = {"upstreams": addresses} if len(addresses) > 1 else {"upstream": addresses[0]}
            self.table.setdefault("route", []).append({
                "path": "/",
                "when": {"path": [f"*{suffix}"]},
                "fastcgi": {**where, "root": self.table["root"]},
            })  # fmt: skip

    def _on_expire_url(self, one: Setting, _when: Any) -> None:
        units = {
            "second": 1,
            "minute": 60,
            "hour": 3600,
            "day": 86_400,
            "week": 604_800,
            "month": 2_592_000,
            "year": 31_536_000,
        }
        for path, text in one.value if isinstance(one.value, list) else []:
            match = re.fullmatch(r"(?:access plus )?(\d+) (\w+?)s?", str(text))
            if match is None or match[2] not in units:
                self._draft.note(one.line, f"{one.name}: {path} => {text}")
                continue
            rule = {"when": {"path": [f"{path}*"]}, "max_age_seconds": int(match[1]) * units[match[2]]}
            self._add_rule("expires", rule)

    def _on_dir_listing_activate(self, one: Setting, _when: Any) -> None:
        if one.value == "enable" and "root" in self.table:
            files = self.table.pop("static_file", {})
            self.table["directory_listing"] = {"root": self.table.pop("root"), **files}

    def _on_server_dir_listing(self, one: Setting, when: Any) -> None:
        self._on_dir_listing_activate(one, when)

    def _on_deflate_mimetypes(self, _one: Setting, _when: Any) -> None:
        self.table["compress"] = {}

    _on_compress_filetype = _on_deflate_mimetypes

    def _on_server_error_handler_404(self, one: Setting, _when: Any) -> None:
        self._draft.note(one.line, f"{one.name} (a file for it goes into [site.error_pages])")

    def _on_auth_require(self, one: Setting, _when: Any) -> None:
        self._draft.note(one.line, f"{one.name}: WHO MAY SEE WHAT is not carried over; add [site.basic_auth]")

    def _on_server_max_request_size(self, one: Setting, _when: Any) -> None:
        if isinstance(one.value, int):
            self._draft.server.setdefault("limits", {})["request_body_bytes"] = one.value * 1024
