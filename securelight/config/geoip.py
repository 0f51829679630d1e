"""`[server.geoip]`: where the databases are that know which country and network an address is from."""

from __future__ import annotations

from typing import Annotated

import msgspec


class GeoipConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server.geoip]`: what the conditions `country`, `continent` and `asn` look into."""

    databases: list[Annotated[str, msgspec.Meta(min_length=1)]] = []
    """Files in MaxMind's format (.mmdb), such as GeoLite2-Country and GeoLite2-ASN; the first one that knows says it.
    Read again when they change."""
