"""`lab check` on curl, Python, Node and Chromium: what each does is in its expected table, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from securelight.lab.catalogue import CASES, chosen
from securelight.lab.check.outcome import Did, Outcome
from securelight.lab.check.profiles import DIFFERENCES, PROFILES, differences
from securelight.lab.check.runner import CommandClient, Options, check, client_of, running_lab
from securelight.lab.world import World
from tests.server.processes import alive

SECONDS = 30.0

NEEDED = {
    "curl": [("curl", "curl")],
    "python": [],
    "node": [("node", "nodejs")],
    "chromium": [("chromium", "chromium"), ("certutil", "libnss3-tools")],
}  # the program, and Debian's package with it


async def outcomes_of(profile: str, world: World) -> list[Outcome]:
    options = Options(CASES, 12, SECONDS, known=differences(profile))
    async with running_lab(options, world) as (lab, directory), client_of(PROFILES[profile], lab, directory) as client:
        return await check(client, options, lab, directory)


@pytest.mark.peer
@pytest.mark.parametrize("profile", NEEDED)
async def test_a_client_does_what_its_table_says(profile: str, world: World) -> None:
    for program, package in NEEDED[profile]:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (Debian: {package})")
    outcomes = await outcomes_of(profile, world)

    assert [(one.case.id, one.answer) for one in outcomes if one.surprise] == []
    asked = [one for one in outcomes if one.answer.did is not Did.SKIPPED]
    assert len(asked) > 200
    assert {one.answer.did for one in asked if one.case.family == "good"} == {Did.ACCEPTED}
    assert {one.answer.did for one in asked if one.case.family == "dates" and one.case.verdict == "refuse"} == {
        Did.REFUSED
    }


async def test_a_client_that_accepts_everything_surprises_with_every_bad_case() -> None:
    options = Options(chosen(["dates", "good"]))
    async with running_lab(options) as (lab, directory):
        outcomes = await check(CommandClient(["true", "{url}"]), options, lab, directory)

    refused = {case.id for case in options.cases if case.verdict == "refuse"}
    assert {one.case.id for one in outcomes if one.surprise} == refused
    assert {one.fault for one in outcomes if one.surprise} == {"wrongly accepted"}


async def test_a_client_that_refuses_everything_surprises_with_every_good_case() -> None:
    options = Options(chosen(["dates", "good"]))
    async with running_lab(options) as (lab, directory):
        outcomes = await check(CommandClient(["false", "{url}"]), options, lab, directory)

    accepted = {case.id for case in options.cases if case.verdict == "accept"}
    assert {one.case.id for one in outcomes if one.surprise} == accepted


async def test_a_client_that_never_ends_is_ended_with_its_children(tmp_path: Path) -> None:
    options = Options(chosen(["good/rsa"]), seconds=0.5)
    note = tmp_path / "child"
    script = f"sleep 600 & echo $! > {note}; wait"
    async with running_lab(options) as (lab, directory):
        [outcome] = await check(CommandClient(["sh", "-c", script, "{url}"]), options, lab, directory)

    assert outcome.answer.did is Did.HUNG
    with trio.fail_after(15):
        while alive(int(note.read_text())):  # noqa: ASYNC110 - a process of somebody else's
            await trio.sleep(0.01)


async def test_a_command_gets_what_its_placeholders_stand_for() -> None:
    options = Options(chosen(["good/rsa", "clients/good"]))
    script = 'test -s "$1" && test "$2" = "https://$3:$4/" && test -s "$5" && test -s "$6" && test -n "$7"'
    command = ["sh", "-c", script, "x", "{ca}", "{url}", "{host}", "{port}", "{cert}", "{key}", "{proxy}"]
    async with running_lab(options) as (lab, directory):
        outcomes = await check(CommandClient(command), options, lab, directory)
        assert directory.is_dir()

    assert {one.answer.did for one in outcomes} == {Did.ACCEPTED}
    assert not directory.exists()


async def test_the_proxy_leads_to_the_lab_and_nowhere_else() -> None:
    options = Options(chosen(["good/rsa", "dates/expired"]))
    command = ["curl", "--silent", "--proxy", "{proxy}", "--cacert", "{ca}", "--output", "/dev/null", "{url}"]
    async with running_lab(options) as (lab, directory):
        good, bad = await check(CommandClient(command), options, lab, directory)
        async with await trio.open_tcp_stream("127.0.0.1", lab.places.plain_port) as stream:
            await stream.send_all(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n")
            assert b" 403 " in await stream.receive_some(1000)

    assert (good.answer.did, bad.answer.did) == (Did.ACCEPTED, Did.REFUSED)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_table_names_cases_that_exist_and_differs_from_a_correct_client(profile: str) -> None:
    known = {case.id: case for case in CASES}
    for case_id, difference in differences(profile).items():
        assert known[case_id].verdict != "either"
        assert set(difference.outcomes) <= {"accepted", "refused", "hung"}
        assert difference.why
    assert DIFFERENCES.is_file()
