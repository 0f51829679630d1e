"""The settings of the proxy: what is refused, and how each fault is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from securelight.handlers.proxy import FEATURE, ProxyConfig
from securelight.model.errors import ConfigError
from securelight.pipeline.stage import Deferred
from securelight.upstream.service import UpstreamService
from tests.helpers import make_context, make_facts, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import TestCertificates

UPSTREAM = "http://127.0.0.1:9000"


def settings(**keys: Any) -> ProxyConfig:
    return msgspec.convert({"upstreams": [UPSTREAM], **keys}, ProxyConfig)


def faults(base: Path, **keys: Any) -> list[str]:
    return list(FEATURE.check(settings(**keys), base))


def test_every_answer_is_waited_for_and_the_connections_have_a_service(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    handler = FEATURE.build(settings(), context)

    assert isinstance(handler(make_request(), make_facts()), Deferred)
    assert [type(service) for service in context.services] == [UpstreamService]


@pytest.mark.parametrize(
    "url",
    [UPSTREAM, "http://[::1]:9000", "https://app.example", "h2c://app:50051", "h2://app", "unix:/run/app.sock",
     "h2c+unix:/run/app.sock", "http://under_score:80/"],
)  # fmt: skip
def test_addresses_that_are_taken(tmp_path: Path, url: str) -> None:
    assert faults(tmp_path, upstreams=[url]) == []


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:9000", "http://app/path", "http://user@app", "http://app:0", "http://app:99999", "http://", "ftp://app",
     "unix:relative", "http://app?x", "http://a\r\nb", "http://[::1", "http://[1:2]"],
)  # fmt: skip
def test_addresses_that_are_refused(tmp_path: Path, url: str) -> None:
    (fault,) = faults(tmp_path, upstreams=[url])
    assert fault.startswith("upstreams: ")


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"weights": {"http://other": 2}}, "none of the upstreams"),
        ({"upstreams": [UPSTREAM, UPSTREAM]}, "twice"),
        ({"balance": "hash_header"}, "hash_name must name"),
        ({"hash_name": "x-user"}, "hash_name is for"),
        ({"host": "a b"}, "host 'a b' is not"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies: '10.0.0.1/8'"),
        ({"trusted_proxies": ["proxy.example"]}, "is not an address or network"),
        ({"sticky_cookie": "at"}, "sticky_secret_file must name"),
        ({"sticky_secret_file": "secret"}, "with sticky_cookie only"),
        ({"sticky_cookie": "a=b", "sticky_secret_file": "secret"}, "is not the name of a cookie"),
        ({"sticky_cookie": "at", "sticky_secret_file": "short"}, "fewer than 16 bytes"),
        ({"sticky_cookie": "at", "sticky_secret_file": "missing"}, "No such file"),
        ({"fields": {"set": {"X-A": "b\r\nX-B: c"}}}, "must be visible ASCII"),
        ({"fields": {"set": {"X A": "b"}}}, "is not a field name"),
        ({"fields": {"add": {"Transfer-Encoding": "chunked"}}}, "written by the proxy itself"),
        ({"fields": {"remove": ["Connection"]}}, "written by the proxy itself"),
        ({"fields": {"set": {"Host": "a"}}}, "set Host by the key host"),
        ({"fields": {"set": {"X-A": "{client}"}}}, "{client} stands for nothing"),
        ({"upstreams": ["h2c://app"], "send_proxy_protocol": "v2"}, "requests of many clients share a connection"),
        ({"spool": {"when": "always"}}, "spool.directory must name a folder"),
        ({"spool": {"when": "always", "directory": "missing"}}, "is not a folder"),
        ({"health": {"path": "status"}}, "must begin with a slash"),
        ({"health": {"host": "a/b"}}, "is not a host name"),
        ({"health": {"statuses": [300, 200]}}, "greater than the last"),
        ({"tls": {"name": "app"}}, "tls is for https"),
        ({"upstreams": ["https://app"], "tls": {"ca": "missing.pem"}}, "missing.pem"),
        ({"upstreams": ["https://app"], "tls": {"ca": "short"}}, "holds no authority"),
        ({"upstreams": ["https://app"], "tls": {"key": "short"}}, "with tls.certificate only"),
        ({"upstreams": ["https://app"], "tls": {"ca": "short", "verify": False}}, "of no use with tls.verify"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, keys: dict[str, Any], part: str) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef")
    (tmp_path / "short").write_text("0123")
    found = faults(tmp_path, **keys)

    assert any(part in fault for fault in found), found
    with pytest.raises(ConfigError):
        FEATURE.build(settings(**keys), make_context(tmp_path))


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, host="a b", upstreams=["nowhere"], trusted_proxies=["x"])) == 3


@pytest.mark.parametrize(
    "keys", [{"upstreams": []}, {"retries": 100}, {"balance": "best"}, {"timeouts": {"idle_seconds": 0}}, {"url": "x"}]
)
def test_settings_of_the_wrong_kind_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        settings(**keys)


def test_an_authority_and_a_certificate_of_ones_own(tmp_path: Path, certificates: TestCertificates) -> None:
    tls = {"ca": str(certificates.ca), "certificate": str(certificates.chain), "key": str(certificates.key)}

    assert faults(tmp_path, upstreams=["https://app"], tls=tls) == []
    (fault,) = faults(tmp_path, upstreams=["https://app"], tls={**tls, "key": str(certificates.ca)})
    assert "can't be used with its key" in fault
