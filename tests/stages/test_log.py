"""The stage that says which log a request belongs to; server/site_logs and the wire tests have the logs themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from securelight.config.load import load
from securelight.config.log_settings import SiteLogConfig
from securelight.features import FEATURES
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import compile_sites
from securelight.pipeline.run import run
from securelight.stages.log import FEATURE, build, check
from tests.helpers import make_context, make_facts, make_request


def test_it_comes_first_and_answers_nothing(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.where = "a.toml: site[0].log"
    build(SiteLogConfig(format="json"), context)
    (stage,) = context.first
    facts = make_facts()
    assert facts.log == ""
    assert stage(make_request(), facts) is None
    assert facts.log == "a.toml: site[0].log"
    assert FEATURE.is_repeatable(SiteLogConfig()), "answers may still be given again"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (SiteLogConfig(format="comined"), "did you mean 'combined'?"),
        (SiteLogConfig(format="{pathh}"), "did you mean {path}?"),
        (SiteLogConfig(format="{path} {"), "single {"),
        (SiteLogConfig(format="{path}\n{status}"), "a request is one line"),
        (SiteLogConfig(format="{request_header:a b}"), "which is no field"),
        (SiteLogConfig(format="{path}" * 1000), "longer than"),
        (SiteLogConfig(syslog="/dev/log", file="a.log"), "file: syslog is set too"),
        (SiteLogConfig(syslog="udp://logs.example.org:514"), "names are not looked up"),
        (SiteLogConfig(syslog="udp://192.0.2.1"), "has no port"),
        (SiteLogConfig(syslog="udp://192.0.2.1:0"), "has no port"),
        (SiteLogConfig(syslog="logs"), "is no syslog"),
        (SiteLogConfig(syslog="/dev/log", syslog_facility="daemn"), "none of kern, user"),
        (SiteLogConfig(journal="yes"), "not the path of a socket"),
        (SiteLogConfig(command=[""]), "does not begin with a program"),
        (SiteLogConfig(command=["cat", "a\0b"]), "zero byte"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, settings: SiteLogConfig, what: str) -> None:
    (fault,) = check(settings, tmp_path)
    assert what in fault
    with pytest.raises(ConfigError, match=r"test\.toml"):
        build(settings, make_context(tmp_path))


def test_a_folder_that_is_not_there_is_for_check_alone(tmp_path: Path) -> None:
    assert "no folder" in check(SiteLogConfig(file="nowhere/a.log"), tmp_path)[0]
    assert check(SiteLogConfig(file="a.log", format="{path}"), tmp_path) == []


CONFIG = """
[[listen]]
address = "127.0.0.1:0"

[[site]]
hosts = ["a.test"]
[site.log]
file = "a.log"
[site.access]
deny = ["192.0.2.0/24"]

[[site.route]]
path = "/closed"
respond = { body = "x" }
[[site.certificate]]
chain = "a"
key = "b"
"""


@pytest.mark.parametrize("path", ["/closed/x", "/no/route/has/it"])
def test_refusals_and_paths_without_a_route_are_in_the_site_s_log(tmp_path: Path, path: str) -> None:
    (tmp_path / "securelight.toml").write_text(CONFIG)
    config = load(tmp_path / "securelight.toml", FEATURES, {})
    facts = make_facts()
    run(compile_sites(config, FEATURES, make_context(tmp_path)), make_request(path=path), facts)
    assert facts.refusal is not None
    assert facts.log.endswith("site[0].log")
