from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from securelight.config.convert import Converter
from securelight.config.environment import apply_environment, unknown_variables, variables
from securelight.config.faults import Faults
from securelight.config.read import read_documents


def applied(table: dict[str, object], environment: dict[str, str]) -> tuple[dict[str, object], list[str]]:
    faults = Faults()
    result = apply_environment(table, environment, Converter(faults, {}))
    return result, [str(fault) for fault in faults.all()]


def test_every_setting_of_the_server_has_a_variable() -> None:
    known = variables()
    assert known["SECURELIGHT_SERVER_WORKERS"] == ("workers",)
    assert known["SECURELIGHT_SERVER_ACCESS_LOG_FILE"] == ("access_log", "file")
    assert known["SECURELIGHT_SERVER_LIMITS_IDLE_SECONDS"] == ("limits", "idle_seconds")
    assert "SECURELIGHT_SERVER_LIMITS" not in known


def test_values_are_numbers_where_the_setting_is_one() -> None:
    result, faults = applied({}, {"SECURELIGHT_SERVER_WORKERS": "2", "SECURELIGHT_SERVER_LIMITS_IDLE_SECONDS": "1.5"})
    assert (result, faults) == ({"workers": 2, "limits": {"idle_seconds": 1.5}}, [])


def test_the_table_that_was_read_is_not_changed() -> None:
    table: dict[str, object] = {"limits": {"idle_seconds": 9}}
    result, _ = applied(table, {"SECURELIGHT_SERVER_LIMITS_REQUEST_FIELDS": "7"})
    assert result == {"limits": {"idle_seconds": 9, "request_fields": 7}}
    assert table == {"limits": {"idle_seconds": 9}}


def test_a_table_that_is_none_is_left_to_be_reported_as_it_is() -> None:
    assert applied({"limits": 5}, {"SECURELIGHT_SERVER_LIMITS_REQUEST_FIELDS": "7"}) == ({"limits": 5}, [])


def test_a_bad_value_is_reported_and_not_applied() -> None:
    assert applied({}, {"SECURELIGHT_SERVER_ENGINE": "nativ\x1b[2J"}) == (
        {},
        [
            'environment: SECURELIGHT_SERVER_ENGINE: "nativ\\x1b[2J" is not one of "auto", "native", "pure"; '
            'did you mean "native"?'
        ],
    )


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("SECURELIGHT_SERVER_WORKERS", []),
        ("SECURELIGHT_SERVE_LISTEN", []),
        ("PATH", []),
        ("SECURELIGHT_SERVER_WORKER", ["environment: SECURELIGHT_SERVER_WORKER: no setting has this name; did you "
                                       "mean SECURELIGHT_SERVER_WORKERS?"]),
        ("SECURELIGHT_\x1b[2J", ["environment: SECURELIGHT_\\x1b[2J: no setting has this name"]),
    ],
)  # fmt: skip
def test_variables_that_nothing_reads(name: str, warnings: list[str]) -> None:
    found = unknown_variables({name: "1"}, ["SECURELIGHT_SERVE_"])
    assert [str(warning) for warning in found] == warnings


class TestVariablesInTexts:
    def read(self, tmp_path: Path, text: str, environment: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
        path = tmp_path / "main.toml"
        path.write_text(text)
        faults = Faults()
        [document] = read_documents(path, faults, environment)
        return document.table, [fault.what for fault in faults.all()]

    def test_a_text_may_name_variables(self, tmp_path: Path) -> None:
        text = 'a = "${HOME}/site"\nb = ["*:${PORT:-8443}", { c = "${EMPTY:-}" }]\n"${HOME}" = 1\n'
        table, faults = self.read(tmp_path, text, {"HOME": "/root"})
        assert table == {"a": "/root/site", "b": ["*:8443", {"c": ""}], "${HOME}": 1}
        assert faults == []

    def test_what_a_variable_holds_is_text_and_never_configuration(self, tmp_path: Path) -> None:
        hostile = 'x"\nroot = "/"\n${HOME}'
        table, _ = self.read(tmp_path, 'a = "${VALUE}"\n', {"VALUE": hostile, "HOME": "/root"})
        assert table == {"a": hostile}

    @pytest.mark.parametrize("text", ["$${HOME}", "${lower}", "$HOME", "^a${2}", "cost $5 {x}"])
    def test_other_dollars_stay(self, tmp_path: Path, text: str) -> None:
        table, faults = self.read(tmp_path, f"a = '{text}'\n", {"HOME": "/root"})
        assert table == {"a": text.replace("$$", "$")}
        assert faults == []

    def test_a_variable_that_is_not_set_is_a_fault_with_a_cure(self, tmp_path: Path) -> None:
        _, faults = self.read(tmp_path, 'a = "${NONE}"\n', {})
        assert faults == ["the environment has no NONE; set it, or write ${NONE:-default}"]
