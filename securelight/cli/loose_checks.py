"""What `securelight check` finds loose: nothing that stops a server, but that gives an attacker more than is needed.

Keys that the workers' user owns or that lie below a folder that is served; configuration that others can write;
workers that stay root; a sandbox that is switched off. That keys can be read by others is told with their certificates.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from securelight.config.faults import printable, quoted
from securelight.config.log_settings import STANDARD
from securelight.config.log_template import form_warnings
from securelight.config.logs import SERVER_LOG, logs_of
from securelight.model.errors import ConfigError
from securelight.server.confinement import plan
from securelight.stages.digest_auth import DigestAuthConfig, warnings as digest_auth_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from securelight.config.schema import Config

_FIRST_FREE_PORT: Final = 1024
"""Below it, a port is for root, or for who was given CAP_NET_BIND_SERVICE."""

_SERVED_FOLDERS: Final = frozenset({"static_file", "directory_listing", "server_side_includes", "webdav"})
_ASK_WHO: Final = frozenset({"basic_auth", "digest_auth", "forward_auth", "authorizer", "access", "signed_links"})
"""Features that turn some clients away."""


def sandbox_faults(config: Config) -> list[ConfigError]:
    """Why workers cannot be confined, if the configuration requires it."""
    try:
        plan(config)
    except ConfigError as error:
        return [error]
    return []


def loose_warnings(config: Config, place: Callable[..., str]) -> list[ConfigError]:
    """All that is loose.

    Args:
        config: what of it is good.
        place: where a key of `[server]` was set.
    """
    found = [
        *_process_warnings(config, place),
        *_file_warnings(config, place),
        *_key_warnings(config),
        *_share_warnings(config),
    ]
    return [*found, *_password_warnings(config)]


def _process_warnings(config: Config, place: Callable[..., str]) -> Iterator[ConfigError]:
    server = config.server
    low = [listen.address for listen in config.listens if _port(listen.address) < _FIRST_FREE_PORT]
    if low and not server.user:
        what = f"{quoted(low[0])} is a port of root, and workers of a server that root started stay root"
        yield ConfigError(place("user"), f'{what}; name who they become, such as user = "www-data"')
    if server.user in ("root", "0"):
        yield ConfigError(place("user"), "workers stay root; name a user that has no other rights")
    if server.sandbox.mode == "off":
        yield ConfigError(
            place("sandbox", "mode"), "workers may open every file that their user may, and gain privileges"
        )


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    number = int(port) if port.isdigit() and not address.startswith("unix:") else 0
    return number or 65_535


def _file_warnings(config: Config, place: Callable[..., str]) -> Iterator[ConfigError]:
    folders = dict.fromkeys(file.parent for file in config.files)
    for path in (*config.files, *folders):
        if who := _written_by(path):
            what = f"can be written by {who}, who can change what is served and run; run: chmod o-w {_shown(path)}"
            yield ConfigError(_shown(path), what)
    for log in logs_of(config).values():
        keys = {name: place("access_log", name) for name in ("file", "format")}
        if log.where != SERVER_LOG:
            keys = {name: f"{log.where}.{name}" for name in keys}
        output = log.output
        if output is None:
            continue
        in_file = output.kind == "file" and output.target[0] != STANDARD
        if in_file and (who := _written_by(Path(output.target[0]).parent)):
            yield ConfigError(keys["file"], f"its folder can be written by {who}")
        for what in form_warnings(log.form):
            yield ConfigError(keys["format"], what)


def _written_by(path: Path) -> str:
    """Who may write there without being its owner or of its group; empty for nobody."""
    try:
        found = path.stat()
    except OSError:
        return ""
    sticky_folder = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & stat.S_IWOTH and not sticky_folder:
        return "everybody"
    return ""


def _key_warnings(config: Config) -> Iterator[ConfigError]:
    owner = _user_id(config.server.user)
    roots = dict.fromkeys(
        root.resolve()
        for site in config.sites
        for route in site.routes
        for item in route.features
        for root in _served(item.name, item.settings, site.base)
    )
    for site in config.sites:
        for index, files in enumerate(site.certificates):
            where, key = f"{site.where}.certificate[{index}].key", site.base / files.key
            for root in roots:
                if key.resolve().is_relative_to(root):
                    what = f"{_shown(key)} lies below {_shown(root)}, which is served; move it out of there"
                    yield ConfigError(where, what)
            if owner is not None and _owner(key) == owner:
                what = f"{_shown(key)} belongs to {quoted(config.server.user)}, so whoever takes over a worker can read"
                yield ConfigError(where, f"{what} it; run: chown root {_shown(key)}")


def _password_warnings(config: Config) -> Iterator[ConfigError]:
    for site in config.sites:
        for route in site.routes:
            for item in route.features:
                if isinstance(item.settings, DigestAuthConfig):
                    yield from (ConfigError(item.where, what) for what in digest_auth_warnings(item.settings))


def _share_warnings(config: Config) -> Iterator[ConfigError]:
    """Of folders that everybody may write to."""
    for site in config.sites:
        if site.client_certificates is not None:
            continue
        for route in site.routes:
            if _ASK_WHO.isdisjoint(item.name for item in route.features):
                for item in route.features:
                    if item.name == "webdav" and getattr(item.settings, "writable", False):
                        what = "everybody may change what is in it; add [site.basic_auth] or the like to its route"
                        yield ConfigError(f"{item.where}.writable", what)


def _served(name: str, settings: Any, base: Path) -> Iterator[Path]:
    if name in _SERVED_FOLDERS and "{" not in settings.root:
        yield base / settings.root
    sendfile = getattr(settings, "sendfile", None)
    if sendfile is not None:
        yield from (base / folder for folder in (*sendfile.roots, *sendfile.locations.values()))


def _user_id(name: str) -> int | None:
    """Of a user that is not root; None if there is none."""
    try:
        return (pwd.getpwnam(name).pw_uid or None) if name else None
    except KeyError:
        return None


def _owner(path: Path) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _shown(path: Path) -> str:
    return printable(str(path), 300)
