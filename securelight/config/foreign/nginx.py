"""Reads the common part of nginx.conf: servers, locations, files, redirects, rewrites, upstreams, passwords, fields.

Everything that is not understood becomes a note with its line. Nothing is guessed: a directive that changes who may see
what and is not carried over is said in those words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from securelight.config.foreign.draft import Draft, add_rule, below, with_captures
from securelight.config.foreign.nginx_syntax import parse

if TYPE_CHECKING:
    from securelight.config.foreign.draft import Line
    from securelight.config.foreign.includes import Includes
    from securelight.config.foreign.nginx_syntax import Directive

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "y": 31_536_000}
_VARIABLES: Final = {
    "host": "{host}", "server_name": "{host}", "http_host": "{authority}", "request_uri": "{path}", "uri": "{path}",
    "document_uri": "{path}", "args": "{query}", "query_string": "{query}", "is_args": "", "scheme": "{scheme}",
    "remote_addr": "{client_address}", "remote_user": "{user}", "request_method": "{method}",
}  # fmt: skip
_VARIABLE: Final = re.compile(r"\$\{?([a-zA-Z_]\w*)\}?")
_HARMLESS: Final = frozenset({
    "access_log", "charset", "default_type", "error_log", "etag", "events", "fastcgi_param", "gzip_buffers",
    "gzip_comp_level", "gzip_http_version", "gzip_min_length", "gzip_proxied", "gzip_types", "gzip_vary", "http2",
    "index", "keepalive_timeout", "load_module", "log_format", "map_hash_bucket_size", "pid", "proxy_buffering",
    "proxy_http_version", "proxy_set_header", "sendfile", "server_names_hash_bucket_size", "server_tokens",
    "ssl_ciphers", "ssl_dhparam", "ssl_prefer_server_ciphers", "ssl_protocols", "ssl_session_cache",
    "ssl_session_tickets", "ssl_session_timeout", "tcp_nodelay", "tcp_nopush", "types", "types_hash_max_size",
    "worker_connections", "worker_rlimit_nofile",
})  # fmt: skip
"""What has no equal here because it is so anyway, or does not matter."""


def convert_nginx(text: str, includes: Includes | None = None) -> Draft:
    """The configuration in `text`, with what it includes, as far as it can be carried over.

    Errors: SyntaxFault.
    """
    draft = Draft()
    top = parse(text, includes)
    flat = [inner for one in top for inner in (one.block or () if one.name == "http" else (one,))]
    upstreams = {
        one.arguments[0]: one for one in flat if one.name == "upstream" and one.arguments and one.block is not None
    }
    shared = [one for one in flat if one.name in ("gzip", "root", "add_header", "client_max_body_size")]
    servers = [
        _Server(draft, upstreams, [*shared, *one.block], one.line)
        for one in flat
        if one.name == "server" and one.block is not None
    ]
    for server in sorted(servers, key=lambda server: not server.is_encrypted):  # which have the hosts of both
        server.convert()
    for one in flat:
        if one.name == "server" and one.block is not None:
            continue
        if one.name == "user" and one.arguments:
            draft.server["user"] = one.arguments[0]
        elif one.name == "worker_processes" and one.arguments and one.arguments[0].isdigit():
            draft.server["workers"] = int(one.arguments[0])
        elif one.name not in _HARMLESS and one not in shared and one.name not in ("upstream", "worker_processes"):
            draft.note(one.line, _shown(one))
    return draft


def _shown(one: Directive) -> str:
    return " ".join((one.name, *one.arguments)) + (" { ... }" if one.block is not None else "")


class _Server:
    """One server block."""

    def __init__(self, draft: Draft, upstreams: dict[str, Directive], directives: list[Directive], line: Line) -> None:
        self._draft = draft
        self._upstreams = upstreams
        self._directives = directives
        self._line = line
        self._root = next(
            (one.arguments[0] for one in reversed(directives) if one.name == "root" and one.arguments), ""
        )

    @property
    def is_encrypted(self) -> bool:
        """Whether it listens for https somewhere."""
        return any(one.name == "listen" and "ssl" in one.arguments for one in self._directives)

    def convert(self) -> None:
        """Add what it says to the draft."""
        addresses = self._listens()
        only_redirects = any(
            one.name == "return" and one.arguments and one.arguments[-1].startswith("https://")
            for one in self._directives
        )
        for address, is_encrypted in addresses:
            self._draft.listen(address, redirect=not is_encrypted)
        if only_redirects and not self.is_encrypted:
            return
        hosts = self._draft.free(self._hosts(), self._line)
        if not self.is_encrypted:
            self._draft.note(self._line, "this server speaks plain HTTP; here, that only redirects to https")
        if not hosts:
            return
        site: dict[str, Any] = {"hosts": hosts}
        if self._root:
            site["root"] = self._root
        self._own(site, self._directives, "")
        site["route"] = self._routes()
        if any(route["path"] == "/" and "when" not in route for route in site["route"]):
            site.pop("root", None)
        if not site["route"]:
            del site["route"]
        self._certificate(site)
        self._draft.sites.append(site)

    def _routes(self) -> list[dict[str, Any]]:
        """Those of the locations: exact ones before expressions, and both before paths that do not say `^~`."""
        exact: list[dict[str, Any]] = []
        expressions: list[dict[str, Any]] = []
        paths: list[tuple[dict[str, Any], bool]] = []
        for one in self._directives:
            route = self._location(one) if one.name == "location" and one.block is not None else None
            if route is None:
                continue
            if one.arguments[0] == "=":
                exact.append(route)
            elif one.arguments[0] in ("~", "~*"):
                expressions.append(route)
            else:
                paths.append((route, one.arguments[0] == "^~"))
        found = [*exact, *expressions]
        for route, before_expressions in paths:
            if route["path"] != "/":
                inside = [one for one in exact if one["when"]["path"][0].startswith(route["path"] + "/")]
                found += below(route["path"], inside if before_expressions else [*inside, *expressions])
            found.append(route)
        return found

    def _listens(self) -> list[tuple[str, bool]]:
        found = []
        for one in self._directives:
            if one.name != "listen" or not one.arguments:
                continue
            address = one.arguments[0].replace("[::]:", "*:")
            if address.startswith("unix:"):
                self._draft.note(one.line, f"{_shown(one)} (unix sockets)")
                continue
            if address.isdigit():
                address = f"*:{address}"
            elif ":" not in address:
                address = f"{address}:80"
            found.append((address, "ssl" in one.arguments))
        return found

    def _hosts(self) -> list[str]:
        hosts: list[str] = []
        for one in self._directives:
            for name in one.arguments if one.name == "server_name" else ():
                if name in ("_", ""):
                    hosts.append("*")
                elif name.startswith("~") or "*" in name.removeprefix("*."):
                    self._draft.note(one.line, f"server_name {name} (only *.name is a pattern here)")
                elif name.startswith("."):
                    hosts += [name[1:], f"*{name}"]
                else:
                    hosts.append(name)
        return list(dict.fromkeys(hosts)) or ["*"]

    def _certificate(self, site: dict[str, Any]) -> None:
        values = {one.name: one.arguments[0] for one in self._directives if one.arguments}
        chain, key = values.get("ssl_certificate"), values.get("ssl_certificate_key")
        if chain and key:
            site["certificate"] = [{"chain": chain, "key": key}]
        else:
            self._draft.note(self._line, "this server has no certificate of its own; add [[site.certificate]]")

    def _location(self, one: Directive) -> dict[str, Any] | None:
        assert one.block is not None
        modifier, pattern = (
            one.arguments if len(one.arguments) == 2 else ("", one.arguments[0] if one.arguments else "")
        )
        route: dict[str, Any]
        if modifier in ("", "^~") and "." in pattern.rpartition("/")[2] and pattern.startswith("/"):
            route = {"path": "/", "when": {"path": [f"{pattern}*"]}}  # a file, not a folder
        elif modifier in ("", "^~") and pattern.startswith("/"):
            route = {"path": pattern.rstrip("/") or "/"}
        elif modifier == "=":
            route = {"path": "/", "when": {"path": [pattern]}}
        elif modifier in ("~", "~*"):
            route = {"path": "/", "when": {"path_regex": ("(?i)" if modifier == "~*" else "") + pattern}}
        else:
            self._draft.note(one.line, f"location {' '.join(one.arguments)}")
            return None
        if any(inner.name == "internal" for inner in one.block):
            self._draft.note(one.line, f"location {pattern} is internal; nobody sees it here")
            return route | {"respond": {"status": 404}}
        handled = self._own(route, list(one.block), route["path"] if "when" not in route else "")
        if not handled:
            root = next(
                (inner.arguments[0] for inner in one.block if inner.name == "root" and inner.arguments), self._root
            )
            if not root:
                self._draft.note(one.line, f"location {pattern} says nothing that answers requests")
                return None
            # nginx appends the whole path to root, here the path of the route stands for it.
            route["root"] = root.rstrip("/") + ("" if "when" in route or route["path"] == "/" else route["path"])
        return route

    def _own(self, table: dict[str, Any], directives: list[Directive], prefix: str) -> bool:
        """Carry over what stands in a server or location; True if something of it answers."""
        handled = False
        for one in directives:
            method = getattr(self, f"_on_{one.name}", None)
            if method is not None and one.block is None and one.arguments:
                handled |= bool(method(table, one))
            elif one.name not in _HARMLESS | {
                "listen", "server_name", "location", "root", "ssl_certificate", "ssl_certificate_key",
            }:  # fmt: skip
                self._draft.note(one.line, _shown(one))
        return handled

    def _value(self, text: str, one: Directive) -> str | None:
        """A text with variables as a template; None, and a note, if one of them has no equal."""
        unknown = [name for name in _VARIABLE.findall(text) if name not in _VARIABLES and not name.startswith("http_")]
        if unknown:
            self._draft.note(one.line, f"{_shown(one)} (${unknown[0]} has no equal)")
            return None
        made = with_captures(text)
        return _VARIABLE.sub(
            lambda match: _VARIABLES.get(match[1], f"{{header:{match[1][5:].replace('_', '-')}}}"), made
        )

    def _on_return(self, table: dict[str, Any], one: Directive) -> bool:
        code, text = (one.arguments[0], one.arguments[-1]) if len(one.arguments) == 2 else ("302", one.arguments[0])
        if len(one.arguments) == 1 and one.arguments[0].isdigit():
            table["respond"] = {"status": int(one.arguments[0])}
            return True
        if code in ("301", "302", "303", "307", "308"):
            to = self._value(text, one)
            if to is None:
                return False
            add_rule(table, "redirect", {"to": to, "status": int(code)})
            if "path" in table:
                table["respond"] = {"status": 404}
        elif code.isdigit():
            table["respond"] = {"status": int(code), "body": text}
        return True

    def _on_rewrite(self, table: dict[str, Any], one: Directive) -> None:
        if len(one.arguments) < 2:
            return
        pattern, text, flag = (*one.arguments, "")[:3]
        to = self._value(text, one)
        if to is None:
            return
        rule: dict[str, Any] = {"when": {"path_regex": pattern}, "to": to}
        if flag in ("permanent", "redirect") or "://" in text:
            add_rule(table, "redirect", rule | {"status": 301 if flag == "permanent" else 302})
        else:
            add_rule(table, "rewrite", rule)

    def _on_try_files(self, table: dict[str, Any], one: Directive) -> None:
        last = one.arguments[-1]
        if last.startswith(("=", "$uri")):
            return
        to = self._value(last.split("?")[0], one) if last.startswith("/") else None
        if to is None:
            self._draft.note(one.line, _shown(one))
            return
        prefix = {} if table.get("path", "/") == "/" else {"path_prefix": [table["path"]]}
        if not self._root:
            self._draft.note(one.line, f"{_shown(one)} (there is no root to look in)")
            return
        add_rule(table, "rewrite", {"when": prefix | {"not": {"file_exists": self._root}}, "to": to})

    def _on_proxy_pass(self, table: dict[str, Any], one: Directive) -> bool:
        match = re.fullmatch(r"(https?)://([^/]+)(/.*)?", one.arguments[0])
        if match is None or "$" in one.arguments[0]:
            self._draft.note(one.line, _shown(one))
            return False
        table["proxy"] = {"upstreams": [
            server if server.startswith("unix:") else f"{match[1]}://{server}" for server in self._servers(match[2])
        ]}  # fmt: skip
        if match[3] == "/" and table.get("path", "/") != "/":
            table["proxy"]["strip_prefix"] = True
        elif match[3] and match[3] != "/":
            self._draft.note(one.line, f"{_shown(one)} (the path of the address)")
        return True

    def _on_fastcgi_pass(self, table: dict[str, Any], one: Directive) -> bool:
        servers = self._servers(one.arguments[0])
        where = {"upstreams": servers} if len(servers) > 1 else {"upstream": "".join(servers)}
        table["fastcgi"] = {**where, "root": self._root or "."}
        table.pop("root", None)
        return True

    def _servers(self, name: str) -> list[str]:
        """Those of the upstream called `name`; itself if there is none, as it is an address then."""
        named = self._upstreams.get(name)
        if named is None:
            return [name]
        for inner in named.block or ():
            if inner.name != "server" or len(inner.arguments) > 1:
                self._draft.note(inner.line, f"upstream {name}: {_shown(inner)}")
        return [inner.arguments[0] for inner in named.block or () if inner.name == "server" and inner.arguments]

    def _on_alias(self, table: dict[str, Any], one: Directive) -> bool:
        table["root"] = one.arguments[0].rstrip("/") or "/"
        return True

    def _on_add_header(self, table: dict[str, Any], one: Directive) -> None:
        if len(one.arguments) < 2 or "$" in one.arguments[1]:
            self._draft.note(one.line, _shown(one))
            return
        table.setdefault("set_headers", {}).setdefault("set", {})[one.arguments[0].lower()] = one.arguments[1]

    def _on_expires(self, table: dict[str, Any], one: Directive) -> None:
        text = one.arguments[0]
        match = re.fullmatch(r"(\d+)([smhdwMy]?)", text)
        if text == "off":
            return
        if match is None and text not in ("max", "epoch", "-1"):
            self._draft.note(one.line, _shown(one))
            return
        seconds = int(match[1]) * _SECONDS[match[2] or "s"] if match else (315_360_000 if text == "max" else 0)
        table["expires"] = {"preset": "none", "rule": [{"max_age_seconds": seconds}]}

    def _on_error_page(self, table: dict[str, Any], one: Directive) -> None:
        page = one.arguments[-1]
        codes = [code for code in one.arguments[:-1] if re.fullmatch(r"[45]\d\d", code)]
        if not self._root or not page.startswith("/") or "$" in page or len(codes) != len(one.arguments) - 1:
            self._draft.note(one.line, _shown(one))
            return
        pages = table.setdefault("error_pages", {}).setdefault("pages", {})
        pages.update(dict.fromkeys(codes, self._root.rstrip("/") + page))

    def _on_allow(self, table: dict[str, Any], one: Directive) -> None:
        if one.arguments[0] != "all":
            table.setdefault("access", {}).setdefault("allow", []).append(one.arguments[0])

    def _on_deny(self, table: dict[str, Any], one: Directive) -> None:
        access = table.setdefault("access", {})
        if one.arguments[0] != "all":
            access.setdefault("deny", []).append(one.arguments[0])
            self._draft.note(one.line, f"{_shown(one)} (here, deny always wins over allow: check the order)")
        elif "allow" not in access:
            access.setdefault("rule", []).append({"action": "deny"})

    def _on_auth_basic(self, table: dict[str, Any], one: Directive) -> None:
        if one.arguments[0] != "off":
            table.setdefault("basic_auth", {})["realm"] = one.arguments[0]

    def _on_auth_basic_user_file(self, table: dict[str, Any], one: Directive) -> None:
        table.setdefault("basic_auth", {})["file"] = one.arguments[0]

    def _on_autoindex(self, table: dict[str, Any], one: Directive) -> bool:
        if one.arguments[0] == "on":
            path = table.get("path", "/")
            table["directory_listing"] = {"root": self._root.rstrip("/") + ("" if path == "/" else path) or "."}
            table.pop("root", None)
            return True
        return False

    def _on_gzip(self, table: dict[str, Any], one: Directive) -> None:
        if one.arguments[0] == "on":
            table["compress"] = {}

    def _on_client_max_body_size(self, _table: dict[str, Any], one: Directive) -> None:
        match = re.fullmatch(r"(\d+)([kKmMgG]?)", one.arguments[0])
        if match is None:
            return
        size = int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]
        limits = self._draft.server.setdefault("limits", {})
        limits["request_body_bytes"] = max(size, limits.get("request_body_bytes", 0))
        if len(self._draft.sites):
            self._draft.note(one.line, f"{_shown(one)} (one bound for all sites: the largest)")
