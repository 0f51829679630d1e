"""The configuration as frozen data. Nothing here opens, binds, logs or exits.

TOML tables map onto these structs one to one. Paths of a site are kept as written, together with the directory that
they are relative to (`base`): that of the file in which they stand. Paths of `[server]` are absolute once loaded.
Features (stages, handlers, filters) bring their own structs; which keys they have is in the feature table that
config.load is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol

import msgspec

from securelight.config.conditions import Condition
from securelight.config.geoip import GeoipConfig
from securelight.config.log_settings import AccessLogConfig
from securelight.config.tcp import TcpConfig
from securelight.model.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FeatureKind = Literal["stage", "handler", "filter"]
Engine = Literal["auto", "native", "pure"]
TlsPolicyName = Literal["modern", "intermediate"]
UserFrom = Literal["subject", "common_name", "email", "dns", "uri", "fingerprint", "none"]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
FilePath = Annotated[str, msgspec.Meta(min_length=1)]

SHORTHANDS: Final = {
    "root": ("static_file", "Serve the files below this folder: short for static_file with this root."),
    "app": ("asgi", "Run the ASGI application module:attribute: short for asgi with this app."),
}
"""Keys of a site or route that stand for a feature with the one setting of the same name: its name, what it does."""


class FeatureRow(Protocol):
    """One row of the feature table, as far as reading a config needs it."""

    @property
    def name(self) -> str:
        """Its key in a site or route table."""
        ...

    @property
    def kind(self) -> FeatureKind:
        """At which point of a request it acts."""
        ...

    @property
    def config_class(self) -> type[msgspec.Struct]:
        """What its table is converted to."""
        ...


class CertificateFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.certificate]]`: one chain and its key, PEM."""

    chain: FilePath
    key: FilePath


SOCKET_MODE: Final = "0660"


class ListenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[listen]]`: one address.

    `address` is `host:port`, `[v6]:port`, `*:port` (all addresses of both families) or `unix:/path/of/socket`; who
    comes by a unix socket has the address `unix:`, in rules, in trusted_proxies and in logs.
    `plain_http = "redirect"` makes it a plain HTTP port that answers nothing but a 308 to the same URL on https, port
    `redirect_port`.
    """

    address: str
    plain_http: Literal["off", "redirect"] = "off"
    redirect_port: Port = 443
    proxy_protocol_from: list[str] = []
    """Addresses and networks of balancers in front of us, whose connections begin with a PROXY protocol header that
    says who the client is. From others, such a header is refused."""
    backlog: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1024
    socket_mode: Annotated[str, msgspec.Meta(pattern=r"^0?[0-7]{3}$")] = SOCKET_MODE
    """Who may connect to a unix socket: its owner and its group."""
    socket_group: str = ""
    """Its group; without it, that of the process that makes it."""


class SandboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server.sandbox]`: what workers give up before they serve: new privileges, and files that they do not serve."""

    mode: Literal["auto", "required", "off"] = "auto"
    """`auto`: as far as the kernel can, and as it is known which files are needed. `required`: or do not start. `off`:
    for applications that need set-user-ID programs, and for debuggers."""
    read: list[FilePath] = []
    """Files and folders that applications and programs may read and run. With these, workers that run some are confined
    too."""
    write: list[FilePath] = []
    """Those that they may write to."""


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: what is one for the whole process tree."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 1
    engine: Engine = "auto"
    user: str = ""
    group: str = ""
    state_directory: str = ""
    """Where the control file for `reload` and `stop` lives; by default beside the config file."""
    event_log: Literal["auto", "human", "json"] = "auto"
    access_log: AccessLogConfig = AccessLogConfig()
    sandbox: SandboxConfig = SandboxConfig()
    geoip: GeoipConfig = GeoipConfig()
    limits: Limits = msgspec.field(default_factory=Limits)


class SiteKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site]]`: the keys that are not features."""

    hosts: list[str]
    tls: TlsPolicyName = "intermediate"
    certificate: list[CertificateFiles] = []
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Whether clients are asked for a certificate, and whether one without is let in."""
    client_ca: str = ""
    """The authorities that vouch for clients, PEM. With them, only those clients are let in."""
    client_crl: str = ""
    """Their revocation lists, PEM or DER."""
    client_user_from: UserFrom = "subject"
    """What of the certificate is the name of the user."""
    client_users: dict[str, str] = {}
    """Names of users by what `client_user_from` gives: `{ "CN=alice,O=Example" = "alice" }`. With it, no other
    certificate lets anybody in."""
    trusted_proxies: list[str] = []
    """Addresses and networks of proxies in front of this site: the client is who they say that it is."""


class ClientCertificates(msgspec.Struct, frozen=True):
    """What a site asks of its clients; see SiteKeys."""

    required: bool
    authorities: str
    revocations: str
    """Empty if there are none."""
    user_from: UserFrom
    users: tuple[tuple[str, str], ...] = ()
    """What `user_from` gives, and the name of that user; empty if it is the name itself."""


class RouteKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.route]]`: the keys that are not features."""

    path: str
    when: Condition | None = None
    """Which requests below the path it is for; the first route that fits answers, one without a condition last."""


class FeatureConfig(msgspec.Struct, frozen=True):
    """One feature switched on in a site or route, its table already converted to the feature's struct."""

    name: str
    kind: FeatureKind
    settings: msgspec.Struct
    where: str
    """File and key path, for messages."""


class RouteConfig(msgspec.Struct, frozen=True):
    """`[[site.route]]`: a path prefix (on segment boundaries; the longest wins) and what answers there."""

    path: str
    features: tuple[FeatureConfig, ...]
    """The site's stages and filters, those that the route has itself replaced by its own, and exactly one handler; in
    the order of the feature table, which is the order in which they run."""
    where: str
    when: Condition | None = None
    """Which requests it is for; None for all below its path."""


class SiteConfig(msgspec.Struct, frozen=True):
    """`[[site]]`: host names and what they serve.

    `hosts` are exact names, IP addresses, `*.suffix` (one or more labels), or `*` (whatever no other site has).
    """

    hosts: tuple[str, ...]
    certificates: tuple[CertificateFiles, ...]
    routes: tuple[RouteConfig, ...]
    base: Path
    where: str
    tls: TlsPolicyName = "intermediate"
    client_certificates: ClientCertificates | None = None
    """None for a site that does not ask for them."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies that are believed about the client."""


class Config(msgspec.Struct, frozen=True):
    """The whole configuration."""

    server: ServerConfig
    listens: tuple[ListenConfig, ...]
    sites: tuple[SiteConfig, ...]
    base: Path
    """The directory of the main file."""
    files: Sequence[Path] = ()
    """Every file that was read, the main one first."""
    tcp: tuple[TcpConfig, ...] = ()
    """Names whose connections are passed on unopened."""
