"""Forward auth: what is wrong with its settings. What it does is in tests/wire/test_forward_auth.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from securelight.stages.forward_auth import FEATURE, ForwardAuthConfig

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"upstream": "ftp://a"}, "is not the address of a server"),
        ({"upstream": "https://a", "ca": "nowhere.pem"}, "ca: "),
        ({"ca": "ca.pem"}, "for https:// and h2:// alone"),
        ({"path": "verify"}, "has to begin with a slash"),
        ({"path": "/a b"}, "has to begin with a slash"),
        ({"identity": ["Remote User"]}, "is not a field name"),
        ({"identity": ["Transfer_Encoding"]}, "no field that says who somebody is"),
        ({"identity": ["X-Forwarded-For"]}, "no field that says who somebody is"),
        ({"user": "Remote-User"}, "none of identity"),
        ({"when": {}}, "fits every request"),
    ],
)
def test_faults_of_the_settings(tmp_path: Path, keys: dict[str, Any], part: str) -> None:
    settings = msgspec.convert({"upstream": "http://127.0.0.1:9091", **keys}, ForwardAuthConfig)
    (found,) = FEATURE.check(settings, tmp_path)
    assert part in found
