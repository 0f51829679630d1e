from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from securelight.tls.expiry import INTERVAL_SECONDS, WARNING_DAYS, ExpiryWatch
from tests.certificates import make_test_certificates
from tests.wire.server_process import serving, write_config

DAY = 86_400.0


@pytest.mark.parametrize(
    ("age", "days"),
    [(0, None), (59, None), (61, 28), (90 - 1, 0), (91, -1 - 1)],
)
def test_it_is_told_from_thirty_days_before(age: int, days: int | None, tmp_path: Path) -> None:
    """The certificate lives 90 days from when it was made."""
    made = make_test_certificates(tmp_path / "certs", age=timedelta(days=age, minutes=1))
    found = ExpiryWatch([made.chain]).check(time.time())
    assert [one.days for one in found] == ([] if days is None else [days])
    assert all(one.days < WARNING_DAYS and one.file == made.chain for one in found)


def test_it_is_told_once_a_day_and_not_any_more_once_renewed(tmp_path: Path) -> None:
    made = make_test_certificates(tmp_path / "certs", age=timedelta(days=70))
    now = time.time()
    watch = ExpiryWatch([made.chain, made.chain])
    assert len(watch.check(now)) == 1
    assert watch.check(now + INTERVAL_SECONDS - 1) == []
    assert [one.days for one in watch.check(now + INTERVAL_SECONDS + 1)] == [18]
    make_test_certificates(tmp_path / "certs")
    assert watch.check(now + 3 * INTERVAL_SECONDS) == []


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
)
def test_what_cannot_be_read_is_left_to_whoever_loads_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes(content)
    assert ExpiryWatch([tmp_path / "chain.pem", tmp_path / "nothing.pem"]).check(time.time()) == []


def test_a_running_server_warns_in_its_event_log(tmp_path: Path) -> None:
    made = make_test_certificates(tmp_path / "certs", age=timedelta(days=80, minutes=1))
    write_config(tmp_path, made, 'respond = { body = "hello" }')
    with serving(tmp_path) as server:
        event = server.wait_for_event("certificate expires soon")
    assert event["level"] == "warning"
    assert (event["file"], event["days"]) == (str(made.chain), 9)
