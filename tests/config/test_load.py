from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from securelight.config.faults import ConfigFaults
from securelight.config.load import load, load_leniently
from securelight.config.schema import CertificateFiles
from tests.config.rows import CERTIFICATE, LISTEN, ROWS, SITE, Answer, App, Fence, Files, Hsts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from securelight.config.schema import Config


def write(folder: Path, text: str, name: str = "securelight.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def loaded(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    return load(write(folder, text), ROWS, environment or {})


def faults_of(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The messages, with the folder cut off."""
    with pytest.raises(ConfigFaults) as caught:
        loaded(folder, text, environment)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


class TestWhatIsRead:
    def test_the_smallest_configuration(self, tmp_path: Path) -> None:
        config = loaded(tmp_path, LISTEN + SITE)
        assert config.base == tmp_path
        assert config.files == [tmp_path / "securelight.toml"]
        assert [listen.address for listen in config.listens] == ["localhost:8443"]
        [site] = config.sites
        assert site.hosts == ("example.org",)
        assert site.certificates == (CertificateFiles("example.pem", "example.key"),)
        assert (site.tls, site.base) == ("intermediate", tmp_path)
        [route] = site.routes
        assert route.path == "/"
        assert [(item.name, item.kind, item.settings) for item in route.features] == [
            ("static_file", "handler", Files("public"))
        ]
        assert route.features[0].where == f"{tmp_path}/securelight.toml: site[0].root"

    def test_server_settings_and_limits(self, tmp_path: Path) -> None:
        config = loaded(
            tmp_path,
            """
            [server]
            workers = 4
            engine = "pure"
            state_directory = "state"
            [server.access_log]
            format = "json"
            file = "logs/access.log"
            [server.limits]
            idle_seconds = 5
            """
            + LISTEN
            + SITE,
        )
        server = config.server
        assert (server.workers, server.engine, server.access_log.format) == (4, "pure", "json")
        assert (server.limits.idle_seconds, server.limits.request_fields) == (5, 100)
        assert server.state_directory == str(tmp_path / "state")
        assert server.access_log.file == str(tmp_path / "logs/access.log")

    def test_standard_output_stays_a_dash(self, tmp_path: Path) -> None:
        assert loaded(tmp_path, LISTEN + SITE).server.access_log.file == "-"

    def test_a_route_has_the_stages_and_filters_of_its_site_unless_it_sets_its_own(self, tmp_path: Path) -> None:
        config = loaded(
            tmp_path,
            LISTEN
            + """
            [[site]]
            hosts = ["example.org"]
            root = "public"
            [site.fence]
            allow = ["10.0.0.0/8"]
            [site.hsts]
            max_age_seconds = 10
            [[site.route]]
            path = "/api/"
            app = "shop.web:app"
            [site.route.hsts]
            max_age_seconds = 20
            [[site.route]]
            path = "/health"
            [site.route.respond]
            status = 204
            """
            + CERTIFICATE,
        )
        fence, hsts = Fence(["10.0.0.0/8"]), Hsts(10)
        assert {route.path: [item.settings for item in route.features] for route in config.sites[0].routes} == {
            "/": [fence, Files("public"), hsts],
            "/api": [fence, App("shop.web:app"), Hsts(20)],
            "/health": [fence, Answer(204), hsts],
        }

    def test_features_run_in_the_order_of_the_table_not_of_the_file(self, tmp_path: Path) -> None:
        config = loaded(
            tmp_path,
            LISTEN
            + """
            [[site]]
            hosts = ["example.org"]
            [site.hsts]
            [site.static_file]
            root = "public"
            [[site.route]]
            path = "/private"
            root = "private"
            [site.route.fence]
            allow = []
            """
            + CERTIFICATE,
        )
        assert [[item.name for item in route.features] for route in config.sites[0].routes] == [
            ["static_file", "hsts"],
            ["fence", "static_file", "hsts"],
        ]

    def test_a_shorthand_and_the_table_that_it_is_short_for_go_together(self, tmp_path: Path) -> None:
        config = loaded(tmp_path, LISTEN + SITE + '[site.static_file]\nindex = ["home.html"]\n')
        assert [item.settings for item in config.sites[0].routes[0].features] == [Files("public", ("home.html",))]

    def test_a_site_may_consist_of_routes_alone(self, tmp_path: Path) -> None:
        text = SITE.replace('root = "public"', "") + '[[site.route]]\npath = "/docs"\nroot = "docs"\n'
        assert [route.path for route in loaded(tmp_path, LISTEN + text).sites[0].routes] == ["/docs"]

    def test_files_beside_the_main_one_are_read_in_name_order(self, tmp_path: Path) -> None:
        write(tmp_path, SITE.replace("example.org", "b.example"), "conf.d/20-b.toml")
        write(tmp_path, SITE.replace("example.org", "a.example"), "conf.d/10-a.toml")
        write(tmp_path, "[server]\nworkers = 2\n", "conf.d/00-server.toml")
        write(tmp_path, "not read = because of its name", "conf.d/notes.txt")
        config = loaded(tmp_path, LISTEN)
        assert [site.hosts for site in config.sites] == [("a.example",), ("b.example",)]
        assert config.server.workers == 2
        assert [path.name for path in config.files] == ["securelight.toml", "00-server.toml", "10-a.toml", "20-b.toml"]
        assert config.sites[0].where == f"{tmp_path}/conf.d/10-a.toml: site[0]"

    def test_paths_start_from_the_file_in_which_they_stand(self, tmp_path: Path) -> None:
        write(tmp_path, SITE + '[server]\nstate_directory = "state"\n', "conf.d/site.toml")
        config = loaded(tmp_path, LISTEN)
        assert config.base == tmp_path
        assert config.sites[0].base == tmp_path / "conf.d"
        assert config.server.state_directory == str(tmp_path / "conf.d/state")

    def test_a_directory_is_read_as_all_its_files(self, tmp_path: Path) -> None:
        write(tmp_path, SITE, "20-site.toml")
        write(tmp_path, LISTEN, "10-listen.toml")
        config = load(tmp_path, ROWS, {})
        assert config.base == tmp_path
        assert [path.name for path in config.files] == ["10-listen.toml", "20-site.toml"]

    def test_hosts_are_normalised(self, tmp_path: Path) -> None:
        text = SITE.replace('"example.org"', '"EXAMPLE.org.", "*.Example.ORG", "::0:1", "192.0.2.1", "*"')
        assert loaded(tmp_path, LISTEN + text).sites[0].hosts == (
            "example.org", "*.example.org", "[::1]", "192.0.2.1", "*",
        )  # fmt: skip


class TestFiveWaysToGetItWrong:
    """What a newcomer reads, to the letter."""

    def test_a_key_is_misspelt(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, "[server]\nwokers = 4\n" + LISTEN + SITE) == [
            'securelight.toml: server.wokers: unknown key; did you mean "workers"?'
        ]

    def test_a_number_is_in_quotes(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, '[server]\nworkers = "4"\n' + LISTEN + SITE) == [
            'securelight.toml: server.workers: expected a whole number from 1 to 1024, got the text "4"; '
            "write it without quotes: workers = 4"
        ]

    def test_the_file_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigFaults) as caught:
            load(tmp_path / "securelight.toml", ROWS, {})
        assert str(caught.value) == f"{tmp_path}/securelight.toml: cannot be read: No such file or directory"

    def test_two_handlers_want_the_same_route(self, tmp_path: Path) -> None:
        text = SITE.replace('root = "public"', 'root = "public"\napp = "shop:app"')
        assert faults_of(tmp_path, LISTEN + text) == [
            'securelight.toml: site[0]: has 2 handlers, "root" and "app", where only one can answer; keep one, or give '
            "the other a [[site.route]] with a path of its own"
        ]

    def test_a_port_is_out_of_range(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, LISTEN.replace("8443", "84430") + SITE) == [
            "securelight.toml: listen[0].address: port 84430 is out of range; ports go from 1 to 65535"
        ]

    def test_text_is_not_in_quotes(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, LISTEN + SITE.replace('"public"', "public")) == [
            'securelight.toml: line 7, column 8: text needs quotes: root = "public"'
        ]

    def test_one_bracket_where_two_are_needed(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, LISTEN.replace("[[listen]]", "[listen]") + SITE) == [
            "securelight.toml: listen: there may be several of these: write [[listen]] with double brackets above the "
            "keys of each"
        ]

    def test_two_brackets_where_one_is_needed(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, "[[server]]\nworkers = 1\n" + LISTEN + SITE) == [
            "securelight.toml: server: there is only one of these: write [server] with single brackets"
        ]

    def test_a_key_below_the_certificate_that_belongs_to_the_site(self, tmp_path: Path) -> None:
        text = SITE.replace('root = "public"\n', "") + 'root = "public"\n'
        assert faults_of(tmp_path, LISTEN + text) == [
            "securelight.toml: site[0].certificate[0].root: unknown key here; it belongs to [[site]]: move it above "
            "[[site.certificate]]"
        ]

    def test_the_file_is_empty(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, "") == [
            'securelight.toml: has no [[listen]]; add one with address = "localhost:8443"',
            'securelight.toml: has no [[site]]; add one with hosts = ["localhost"], a certificate and a root',
        ]

    def test_nothing_answers(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, LISTEN + SITE.replace('root = "public"', "")) == [
            "securelight.toml: site[0]: says nothing that answers requests; add one of root, app, static_file, asgi, "
            "respond, proxy"
        ]

    def test_a_table_is_expected(self, tmp_path: Path) -> None:
        assert faults_of(tmp_path, LISTEN + SITE.replace("[[site.c", "hsts = true\n[[site.c")) == [
            "securelight.toml: site[0].hsts: expected a table, got true; write [site.hsts] above its keys"
        ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[sever]\n" + LISTEN + SITE, 'sever: unknown key; did you mean "server"?'),
        ("workers = 2\n" + LISTEN + SITE, "workers: unknown key here; it belongs to [server]"),
        ("[server]\nidle_seconds = 2\n" + LISTEN + SITE,
         "server.idle_seconds: unknown key here; it belongs to [server.limits]"),
        ("[server]\nworkers = 0\n" + LISTEN + SITE, "server.workers: expected a whole number from 1 to 1024, got 0"),
        ('[server]\nengine = "natve"\n' + LISTEN + SITE,
         'server.engine: "natve" is not one of "auto", "native", "pure"; did you mean "native"?'),
        ("[server.limits]\nrequest_fields = 0\n" + LISTEN + SITE,
         "server.limits.request_fields: must be at least 1 fields"),
        ("[server.limits]\nidle_seconds = nan\n" + LISTEN + SITE,
         "server.limits.idle_seconds: must be a finite number"),
        ("[server.limits]\nidle_seconds = -inf\n" + LISTEN + SITE,
         "server.limits.idle_seconds: must be a finite number"),
        ('[server.access_log]\nfile = ""\n' + LISTEN + SITE,
         'server.access_log.file: expected text in quotes that is not empty, got the text ""'),
        ("[[listen]]\n" + SITE, "listen[0].address: is missing: add address = ..., text in quotes"),
        (LISTEN + "redirect_port = 0\n" + SITE,
         "listen[0].redirect_port: expected a whole number from 1 to 65535, got 0"),
        (LISTEN + 'plain_http = "redirect"\n' + SITE,
         "listen[0]: only redirects, and nothing listens for https; add another [[listen]]"),
        (LISTEN + LISTEN + SITE,
         'listen[1].address: "localhost:8443" is already listened on by securelight.toml: listen[0].address'),
        (LISTEN + SITE + "[other]\n", "other: unknown key; the keys here are include, listen, server, site, tcp"),
        (LISTEN + '[[site]]\nhosts = ["a"]\nroot = "x"\n',
         'site[0].certificate: is missing: add [[site.certificate]] with chain = "..." and key = "..."'),
        (LISTEN + '[[site]]\nroot = "x"\n' + CERTIFICATE, "site[0].hosts: is missing: add hosts = ..., a list"),
        (LISTEN + SITE.replace('["example.org"]', "[]"),
         'site[0].hosts: is empty; name the hosts of this site, or write hosts = ["*"] for all of them'),
        (LISTEN + SITE.replace('["example.org"]', '"example.org"'),
         'site[0].hosts: expected a list, got the text "example.org"; write hosts = ["example.org"]'),
        (LISTEN + SITE.replace('["example.org"]', '["a", 5]'),
         'site[0].hosts[1]: expected text in quotes, got 5; put it in quotes: hosts = "5"'),
        (LISTEN + SITE + SITE,
         'site[1].hosts[0]: "example.org" is already the host of securelight.toml: site[0].hosts[0]'),
        (LISTEN + SITE.replace('["example.org"]', '["a.example", "A.example"]'),
         'site[0].hosts[1]: "a.example" is already the host of securelight.toml: site[0].hosts[0]'),
        (LISTEN + SITE.replace('root = "public"', 'rot = "public"'), 'site[0].rot: unknown key; did you mean "root"?'),
        (LISTEN + SITE + '[[site.route]]\npath = "api"\nroot = "x"\n',
         'site[0].route[0].path: "api" has to begin with a slash: "/api"'),
        (LISTEN + SITE + '[[site.route]]\nroot = "x"\n',
         "site[0].route[0].path: is missing: add path = ..., text in quotes"),
        (LISTEN + SITE + '[[site.route]]\npath = "/"\nroot = "x"\n',
         'site[0].route[0].path: the site has a handler of its own, "root", for "/"; keep one'),
        (LISTEN + SITE + '[[site.route]]\npath = "/a"\nroot = "x"\n[[site.route]]\npath = "/a/"\nroot = "x"\n',
         'site[0].route[1].path: "/a" is already the path of site[0].route[0]'),
        (LISTEN + SITE + '[site.static_file]\nroot = "public"\n',
         "site[0].root: is the same as static_file.root, which is set too; keep one"),
        (LISTEN + SITE + "[site.hsts]\nmax_age_secnds = 1\n",
         'site[0].hsts.max_age_secnds: unknown key; did you mean "max_age_seconds"?'),
        (LISTEN + SITE.replace('"public"', "5"),
         'site[0].root: expected text in quotes, got 5; put it in quotes: root = "5"'),
        (LISTEN + SITE + '[[site.route]]\npath = "/p"\n[site.route.proxy]\nto = []\n',
         "site[0].route[0].proxy: needs at least one target"),
        (LISTEN + SITE + '[site.route]\npath = "/p"\n',
         "site[0].route: there may be several of these: write [[site.route]] with double brackets above the keys of "
         "each"),
        (LISTEN + SITE.replace("[[site.certificate]]", "[site.certificate]"),
         "site[0].certificate: there may be several of these: write [[site.certificate]] with double brackets above "
         "the keys of each"),
        (LISTEN + SITE.replace("[[site.c", 'tls = "old"\n[[site.c'),
         'site[0].tls: "old" is not one of "intermediate", "modern"'),
    ],
)  # fmt: skip
def test_one_fault_gives_one_line(tmp_path: Path, text: str, fault: str) -> None:
    assert faults_of(tmp_path, text) == [f"securelight.toml: {fault}"]


def test_every_fault_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, "[server]\nworkers = 0\nengine = 5\n" + SITE, "conf.d/10.toml")
    write(tmp_path, SITE.replace("root", "rooot") + "[server]\n", "conf.d/20.toml")
    write(tmp_path, "= 5", "conf.d/30.toml")
    found = faults_of(tmp_path, '[[listen]]\naddress = "nowhere"\nbacklog = -1\n')
    assert [": ".join(fault.split(": ")[:2]) for fault in found] == [
        "conf.d/30.toml: line 1, column 1",
        "conf.d/20.toml: server",
        "conf.d/10.toml: server.workers",
        "conf.d/10.toml: server.engine",
        "securelight.toml: listen[0].backlog",
        "securelight.toml: listen[0].address",
        "conf.d/20.toml: site[0].rooot",
        "conf.d/20.toml: site[0].hosts[0]",
    ]


def test_what_is_good_is_there_beside_the_faults(tmp_path: Path) -> None:
    second = SITE.replace("example.org", "b.example").replace("root", "rooot")
    config, faults, _ = load_leniently(write(tmp_path, LISTEN + SITE + second + "[server]\nworkers = 0\n"), ROWS, {})
    assert len(faults) == 2
    assert [site.hosts for site in config.sites] == [("example.org",), ("b.example",)]
    assert config.sites[1].certificates == (CertificateFiles("example.pem", "example.key"),)
    assert config.server.workers == 1


def test_a_hostile_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    text = LISTEN + SITE + '["\\u001b]0;owned\\u0007"]\n"\\u001b[2J" = 1\n'
    [fault] = faults_of(tmp_path, text)
    assert fault.isprintable()
    assert "\\x1b]0;owned\\x07" in fault


def test_a_hostile_file_cannot_flood_the_terminal(tmp_path: Path) -> None:
    text = "".join(f"unknown_{number} = 1\n" for number in range(5_000))
    found = faults_of(tmp_path, text + LISTEN + SITE)
    assert len(found) == 101
    assert found[-1] == "configuration: 4900 more faults are not shown"


class TestEnvironment:
    def test_a_variable_wins_over_the_file(self, tmp_path: Path) -> None:
        config = loaded(
            tmp_path,
            "[server]\nworkers = 1\n[server.limits]\nrequest_fields = 50\n" + LISTEN + SITE,
            {
                "SECURELIGHT_SERVER_WORKERS": "3",
                "SECURELIGHT_SERVER_ACCESS_LOG_FORMAT": "json",
                "SECURELIGHT_SERVER_LIMITS_IDLE_SECONDS": "7.5",
            },
        )
        assert (config.server.workers, config.server.access_log.format) == (3, "json")
        assert (config.server.limits.idle_seconds, config.server.limits.request_fields) == (7.5, 50)

    @pytest.mark.parametrize(
        ("name", "value", "what"),
        [
            ("SECURELIGHT_SERVER_WORKERS", "many", 'expected a whole number from 1 to 1024, got the text "many"'),
            ("SECURELIGHT_SERVER_WORKERS", "0", 'expected a whole number from 1 to 1024, got the text "0"'),
            ("SECURELIGHT_SERVER_LIMITS_IDLE_SECONDS", "nan", "must be a finite number"),
            ("SECURELIGHT_SERVER_LIMITS_IDLE_SECONDS", "0", "must be at least 1 seconds"),
            ("SECURELIGHT_SERVER_ENGINE", "pur",
             '"pur" is not one of "auto", "native", "pure"; did you mean "pure"?'),
        ],
    )  # fmt: skip
    def test_a_wrong_value_is_a_fault_that_names_the_variable(
        self, tmp_path: Path, name: str, value: str, what: str
    ) -> None:
        assert faults_of(tmp_path, LISTEN + SITE, {name: value}) == [f"environment: {name}: {what}"]
