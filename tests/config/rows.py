"""A small feature table: one of each kind, and the two features that have shorthands."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from securelight.config.schema import FeatureKind


class Fence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: list[str]


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root: str
    index: tuple[str, ...] = ("index.html",)


class App(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    app: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    fields: dict[str, str] = {}


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str
    weight: float = 1.0


class Proxy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: list[Target]
    retries: int | None = None

    def __post_init__(self) -> None:
        if not self.to:
            raise ValueError("needs at least one target")


class Hsts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_age_seconds: int = 86_400
    preload: bool = False


class Row(NamedTuple):
    name: str
    kind: FeatureKind
    config_class: type[msgspec.Struct]


ROWS = (
    Row("fence", "stage", Fence),
    Row("static_file", "handler", Files),
    Row("asgi", "handler", App),
    Row("respond", "handler", Answer),
    Row("proxy", "handler", Proxy),
    Row("hsts", "filter", Hsts),
)

LISTEN = """
[[listen]]
address = "localhost:8443"
"""

SITE = """
[[site]]
hosts = ["example.org"]
root = "public"

[[site.certificate]]
chain = "example.pem"
key = "example.key"
"""

CERTIFICATE = """
[[site.certificate]]
chain = "example.pem"
key = "example.key"
"""
