"""`securelight check` as its user meets it: lines, exit codes, certificates, and the examples of conf.d."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from securelight.config.geoip import GeoipConfig
from securelight.config.load import load
from securelight.config.schema import ServerConfig
from securelight.features import FEATURES
from securelight.filters.hsts import HstsConfig
from securelight.handlers.static_file import StaticFileConfig
from securelight.pki.local_certificates import ensure_local_certificates
from tests.certificates import make_test_certificates
from tests.client_certificates import DAY, ClientAuthority, write_revocations
from tests.wire.conf_d import switch_on

if TYPE_CHECKING:
    from click.testing import Result

EXAMPLES = Path(__file__).parents[2] / "conf.d"
DOCUMENTATION = EXAMPLES.parent / "docs/client-certificates.md"
SHIPPED_FILES = len(list(EXAMPLES.glob("*.toml")))

SITE = """
[[listen]]
address = "localhost:8443"

[[site]]
hosts = ["localhost", "www.example.test"]
root = "public"

[[site.certificate]]
chain = "certs/server.pem"
key = "certs/server.key"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good configuration, as the current one."""
    make_test_certificates(tmp_path / "certs")
    (tmp_path / "public").mkdir()
    (tmp_path / "securelight.toml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], env=environment)


def change(old: str, new: str) -> None:
    path = Path("securelight.toml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.usefixtures("folder")
class TestVerdict:
    def test_good(self) -> None:
        result = check()
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "securelight.toml: good: 1 site for 2 hosts in 1 file\n"

    def test_faults_are_lines_on_stderr(self) -> None:
        change('root = "public"', 'root = "pubic"\n[site.hsts]\npreload = true')
        result = check("-c", "securelight.toml")
        assert result.exit_code == 1
        assert result.stdout == "securelight.toml: 2 faults\n"
        lines = result.stderr.splitlines()
        assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == ["site[0].root", "site[0].hsts"]
        assert "does not exist" in lines[0]

    def test_faults_of_all_kinds_come_at_once(self) -> None:
        change('root = "public"', 'root = "pubic"')
        change("server.key", "missing.key")
        change('"localhost:8443"', '"localhost:84430"\n[server]\nwokers = 1\nuser = "nobody-of-that-name"')
        lines = check().stderr.splitlines()
        assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
            "server.wokers", "listen[0].address", "site[0].root", "site[0].certificate[0].key",
        ]  # fmt: skip

    def test_what_the_machine_lacks_is_a_fault(self) -> None:
        change('"localhost:8443"', """"localhost:8443"
            [server]
            user = "nobody-of-that-name"
            group = "no-such-group"
            state_directory = "no-state"
            access_log = { file = "no-logs/access.log" }""")  # fmt: skip
        result = check()
        here = Path.cwd()
        assert result.stderr.splitlines() == [
            'securelight.toml: server.user: this machine has no user "nobody-of-that-name"',
            'securelight.toml: server.group: this machine has no group "no-such-group"',
            f'securelight.toml: server.state_directory: there is no folder "{here}/no-state"',
            f'securelight.toml: server.access_log.file: there is no folder "{here}/no-logs"',
        ]
        assert result.exit_code == 1

    def test_a_site_filter_with_a_fault_is_reported_once_for_all_its_routes(self) -> None:
        with Path("securelight.toml").open("a") as file:
            file.write('[site.hsts]\npreload = true\n[[site.route]]\npath = "/a"\nroot = "public"\n')
        assert len(check().stderr.splitlines()) == 1

    def test_no_such_file(self) -> None:
        result = check("-c", "nowhere.toml")
        assert result.exit_code == 1
        assert result.stderr == "nowhere.toml: cannot be read: No such file or directory\n"

    def test_json(self) -> None:
        change('root = "public"', "rot = 1")
        result = check("--json")
        assert (result.exit_code, result.stderr) == (1, "")
        report = json.loads(result.stdout)
        assert report["good"] is False
        assert report["files"] == ["securelight.toml"]
        assert report["faults"] == [
            {"where": "securelight.toml: site[0].rot", "what": 'unknown key; did you mean "root"?'}
        ]

    def test_wrong_usage(self) -> None:
        result = check("--jsn")
        assert result.exit_code == 2
        assert "--json" in result.stderr

    def test_help_has_examples_and_exit_codes(self) -> None:
        result = check("--help")
        assert result.exit_code == 0
        assert "securelight check -c securelight.toml" in result.stdout
        assert "Exit codes:" in result.stdout


@pytest.mark.usefixtures("folder")
class TestWarnings:
    def test_a_looser_limit(self) -> None:
        change("[[listen]]", "[server.limits]\nidle_seconds = 3600\nbody_minimum_bytes_per_second = 1\n[[listen]]")
        result = check()
        assert result.exit_code == 0
        assert [line.partition(" (")[0] for line in result.stderr.splitlines()] == [
            "warning: securelight.toml: server.limits.body_minimum_bytes_per_second: 1 is looser than the default, "
            "250 bytes a second",
            "warning: securelight.toml: server.limits.idle_seconds: 3600.0 is looser than the default, 60.0 seconds",
        ]
        assert result.stdout.endswith(", 2 warnings\n")

    def test_a_tighter_limit_is_no_warning(self) -> None:
        change("[[listen]]", "[server.limits]\nidle_seconds = 6\nbody_minimum_bytes_per_second = 500\n[[listen]]")
        assert check().stderr == ""

    def test_a_looser_limit_of_the_environment(self) -> None:
        result = check(environment={"SECURELIGHT_SERVER_LIMITS_REQUEST_FIELDS": "500"})
        assert result.stderr.startswith(
            "warning: environment: SECURELIGHT_SERVER_LIMITS_REQUEST_FIELDS: 500 is looser than the default, 100 fields"
        )

    def test_a_misspelt_variable(self) -> None:
        result = check(environment={"SECURELIGHT_SERVER_WORKRES": "2", "SECURELIGHT_CHECK_JSON": "0"})
        assert result.exit_code == 0
        assert result.stderr == (
            "warning: environment: SECURELIGHT_SERVER_WORKRES: no setting has this name; did you mean "
            "SECURELIGHT_SERVER_WORKERS?\n"
        )

    def test_a_host_that_the_certificate_is_not_for(self) -> None:
        change('"www.example.test"', '"a.b.example.test", "*.example.test", "*", "shop.invalid"')
        assert check().stderr.splitlines() == [
            f"warning: securelight.toml: site[0].hosts: no certificate of this site is for {host}"
            for host in ("a.b.example.test", "shop.invalid")
        ]

    def test_a_key_that_others_can_read(self, folder: Path) -> None:
        key = folder / "certs/server.key"
        key.chmod(0o640)
        result = check()
        assert result.exit_code == 0
        assert result.stderr == (
            f"warning: securelight.toml: site[0].certificate[0].key: {key} can be read by others (mode 0640); "
            f"run: chmod 600 {key}\n"
        )

    @pytest.mark.parametrize(
        ("age_days", "what"),
        [(91, r"the certificate expired on \d{4}-\d\d-\d\d; no client will accept it"),
         (70, r"the certificate expires in (19|20) days, on \d{4}-\d\d-\d\d"),
         (-10, r"the certificate is not valid before .* UTC; is the clock right\?")],
    )  # fmt: skip
    def test_the_dates_of_a_certificate(self, folder: Path, age_days: int, what: str) -> None:
        make_test_certificates(folder / "certs", age=timedelta(days=age_days))
        result = check()
        assert result.exit_code == 0
        assert re.fullmatch(rf"warning: securelight.toml: site\[0\].certificate\[0\].chain: {what}\n", result.stderr)

    def test_the_certificate_of_an_authority(self, folder: Path) -> None:
        shutil.copy(folder / "certs/ca.pem", folder / "certs/server.pem")
        shutil.copy(folder / "certs/ca.key", folder / "certs/server.key")
        assert "signed by itself" in check().stderr


class TestCertificates:
    def test_a_key_of_another_certificate(self, folder: Path) -> None:
        make_test_certificates(folder / "certs", stem="other")
        change("server.key", "other.key")
        result = check()
        assert result.exit_code == 1
        assert result.stderr.startswith(
            f"securelight.toml: site[0].certificate[0]: {folder}/certs/server.pem: the key does not belong to the "
        )

    def test_chain_and_key_swapped(self, folder: Path) -> None:
        assert folder.is_dir()
        change(
            'chain = "certs/server.pem"\nkey = "certs/server.key"',
            'chain = "certs/server.key"\nkey = "certs/server.pem"',
        )
        result = check()
        assert result.exit_code == 1
        assert result.stderr.splitlines()[0] == (
            "securelight.toml: site[0].certificate[0]: chain and key are swapped: chain names a key, and key a "
            "certificate"
        )

    @pytest.mark.parametrize(
        "content", [b"", b"\x00" * 100, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    )
    @pytest.mark.parametrize("name", ["server.pem", "server.key"])
    def test_damaged_files_are_faults(self, folder: Path, name: str, content: bytes) -> None:
        (folder / "certs" / name).write_bytes(content)
        result = check()
        assert result.exit_code == 1
        assert name in result.stderr
        assert "Traceback" not in result.stderr

    def test_nothing_of_a_key_is_ever_shown(self, folder: Path) -> None:
        path = folder / "certs/server.key"
        secret = path.read_text()
        path.write_text(secret.replace("-----BEGIN", "-----BEGINN"))
        result = check()
        assert result.exit_code == 1
        assert not any(line in result.output for line in secret.splitlines()[1:-1])


def test_colour_and_all_is_left_out_where_no_terminal_reads(folder: Path) -> None:
    (folder / "securelight.toml").write_text("[sever]\n" + SITE)
    done = subprocess.run(
        [sys.executable, "-c", "from securelight.cli.main import main; main()", "check"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == 'securelight.toml: sever: unknown key; did you mean "server"?\n'
    assert done.stdout == "securelight.toml: 1 fault\n"


class TestSchema:
    def test_it_knows_every_feature_and_refuses_other_keys(self) -> None:
        result = check("--schema")
        assert result.exit_code == 0
        schema = json.loads(result.stdout)
        site, route = schema["$defs"]["SiteKeys"], schema["$defs"]["RouteKeys"]
        for feature in FEATURES:
            assert feature.name in site["properties"]
            assert feature.name in route["properties"]
        assert {"hosts", "certificate", "route", "root", "app"} <= site["properties"].keys()
        assert all(part.get("additionalProperties") is False for part in (schema, site, route))

    def test_every_reference_leads_somewhere(self) -> None:
        text = check("--schema").stdout
        names = set(re.findall(r'"#/\$defs/([^"]+)"', text))
        assert names
        assert names <= json.loads(text)["$defs"].keys()

    def test_limits_come_with_reason_unit_and_minimum(self) -> None:
        limits = json.loads(check("--schema").stdout)["$defs"]["Limits"]["properties"]
        assert limits["request_fields"]["minimum"] == 1
        assert "unit: fields" in limits["request_fields"]["description"]


class TestClientCertificates:
    """The files that client certificates are judged by."""

    @pytest.fixture
    def authority(self, folder: Path) -> ClientAuthority:
        """Named in the configuration, as is its list."""
        authority = ClientAuthority(folder, not_after=datetime.now(UTC) + 100 * DAY)
        write_revocations(folder / "clients.crl", authority.revoke())
        keys = f'client_certificates = "required"\nclient_ca = "{authority.path.name}"\nclient_crl = "clients.crl"\n'
        change('root = "public"\n', f'root = "public"\n{keys}')
        return authority

    @pytest.mark.usefixtures("authority")
    def test_good(self) -> None:
        result = check()
        assert (result.exit_code, result.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("name", "content", "what"),
        [
            ("Clients-CA.pem", None, "cannot be read: No such file or directory"),
            ("Clients-CA.pem", b"junk", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
            ("clients.crl", None, "cannot be read: No such file or directory"),
            ("clients.crl", b"-----BEGIN X509 CRL-----\nMIIB", "is damaged or was cut off"),
        ],
    )
    def test_a_file_that_cannot_be_used(
        self, authority: ClientAuthority, name: str, content: bytes | None, what: str
    ) -> None:
        path = authority.directory / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        key = "client_crl" if name == "clients.crl" else "client_ca"
        result = check()
        assert result.exit_code == 1
        assert result.stderr == f"securelight.toml: site[0].{key}: {path} {what}\n"

    @pytest.mark.parametrize(
        ("not_after_days", "what"),
        [(-1, r"expired on \S+; what it vouches for is refused"), (10, r"expires in (9|10) days, on \S+")],
    )
    def test_the_dates_of_an_authority(self, authority: ClientAuthority, not_after_days: int, what: str) -> None:
        soon = ClientAuthority(authority.directory, not_after=datetime.now(UTC) + not_after_days * DAY)
        write_revocations(authority.directory / "clients.crl", soon.revoke())
        result = check()
        assert result.exit_code == 0
        where = r"warning: securelight.toml: site\[0\].client_ca: the certificate of CN=Clients CA"
        assert re.fullmatch(f"{where} {what}\n", result.stderr)

    @pytest.mark.parametrize(
        ("age", "what"),
        [
            (10 * DAY, r"the list of CN=Clients CA expired on .* UTC; all certificates that it is for are refused .*"),
            (-1 * DAY, r"the list of CN=Clients CA is not valid before .* UTC; is the clock right\?"),
        ],
    )
    def test_the_dates_of_a_list(self, authority: ClientAuthority, age: timedelta, what: str) -> None:
        write_revocations(authority.directory / "clients.crl", authority.revoke(age=age))
        result = check()
        assert result.exit_code == 0
        assert re.fullmatch(rf"warning: securelight.toml: site\[0\].client_crl: {what}\n", result.stderr)

    def test_an_authority_without_a_list(self, authority: ClientAuthority) -> None:
        below = ClientAuthority(authority.directory, "Below", authority, not_after=authority.not_after)
        authority.path.write_bytes(authority.pem + below.pem)
        result = check()
        assert result.exit_code == 0
        assert result.stderr == (
            "warning: securelight.toml: site[0].client_crl: there is no list of CN=Below, so what it vouches for is "
            "refused\n"
        )

    def test_the_documentation(self, folder: Path) -> None:
        """What docs/client-certificates.md shows, as it stands there, in a folder with what it names."""
        text = DOCUMENTATION.read_text()
        blocks = re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        assert len(blocks) == 2
        config = "".join(blocks).replace("/srv/", f"{folder}/srv/").replace("example.org", "example.test")
        (folder / "securelight.toml").write_text(SITE.partition("[[site]]")[0] + config)
        for name in ("private", "pki"):
            (folder / "srv" / name).mkdir(parents=True)
            made = make_test_certificates(folder / "certs", [f"{name}.example.test"], stem=name)
            for path in made.pair:
                path.rename(folder / path.name)
        authority = ClientAuthority(folder, not_after=datetime.now(UTC) + 100 * DAY)
        authority.path.rename(folder / "clients-ca.pem")
        write_revocations(folder / "clients.crl", authority.revoke())
        result = check()
        assert (result.exit_code, result.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("old", "new", "fault"),
        [
            ("client_ca = ", "# ", "client_ca: is missing: name the file with the certificates of the authorities"),
            ('"required"', '"off"', "client_ca: does nothing without client_certificates = "),
            ('"required"', '"require"', 'client_certificates: "require" is not one of "off", "optional", "required"'),
        ],
    )
    @pytest.mark.usefixtures("authority")
    def test_keys_that_do_not_belong_together(self, old: str, new: str, fault: str) -> None:
        change(old, new)
        result = check()
        assert result.exit_code == 1
        assert result.stderr.startswith(f"securelight.toml: site[0].{fault}")


class TestExamples:
    """conf.d as it is shipped, in a folder where what it names exists."""

    @pytest.fixture
    def shipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        shutil.copytree(EXAMPLES, tmp_path / "conf.d")
        (tmp_path / "examples/site").mkdir(parents=True)
        ensure_local_certificates(tmp_path / "certs")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.usefixtures("shipped")
    def test_the_folder_is_good(self) -> None:
        result = check("-c", "conf.d")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"conf.d: good: 1 site for 3 hosts in {SHIPPED_FILES} files\n"

    def test_a_main_file_beside_the_folder_reads_it(self, shipped: Path) -> None:
        (shipped / "securelight.toml").write_text("")
        result = check()
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"securelight.toml: good: 1 site for 3 hosts in {SHIPPED_FILES + 1} files\n"

    @pytest.fixture
    def switched_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder with every line in it that was switched off, and what those name made for them."""
        folder = switch_on(tmp_path).folder
        monkeypatch.chdir(folder)
        return folder / "conf.d"

    def test_every_line_that_is_switched_off_is_good_when_it_is_switched_on(self, switched_on: Path) -> None:
        result = check("-c", str(switched_on))
        assert (result.exit_code, result.stderr) == (0, "")
        assert re.fullmatch(rf".*: good: \d+ sites for \d+ hosts in {SHIPPED_FILES} files\n", result.stdout)

    def test_what_is_called_a_default_is_the_default(self, switched_on: Path) -> None:
        config = load(switched_on, FEATURES, {})
        assert msgspec.structs.replace(config.server, geoip=GeoipConfig()) == ServerConfig()
        assert config.sites[0].tls == "intermediate"
        settings = {item.name: item.settings for item in config.sites[0].routes[0].features}
        assert settings["static_file"] == StaticFileConfig("../examples/site")
        assert settings["hsts"] == HstsConfig()
