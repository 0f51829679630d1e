"""Configuration files: only faults come of bad ones, each in one printable line that names its place."""

from __future__ import annotations

import tempfile
from pathlib import Path

from securelight.config.load import load_leniently
from securelight.features import FEATURES

SEEDS = [
    b'[server]\nworkers = 2\n[server.limits]\nranges = 3\n[[listen]]\naddress = "*:8443"\n[[site]]\n'
    b'hosts = ["a.test"]\nroot = "."\n[[site.route]]\npath = "/a"\n[site.route.respond]\nstatus = 204\n',
    b'[[site]]\nhosts = ["*.test"]\n[site.rewrite]\n[[site.rewrite.rule]]\nfrom = "^/a/(.*)"\nto = "/{1}"\n'
    b'[[site.route]]\npath = "/p/"\nproxy.to = ["http://127.0.0.1:9"]\n[site.cache]\n[site.headers.set]\nx-a = "b"\n',
    b'[[tcp]]\nlisten = "*:1"\nto = ["127.0.0.1:2"]\n[[site]]\nhosts = ["a.test"]\n[site.access]\n'
    b'[[site.access.rule]]\ndeny = ["10.0.0.0/8"]\nwhen.path = ["/x/*"]\n',
    b'include = ["/nowhere"]\n[server]\nuser = "nobody"\n[server.access_log]\nfile = "$HOME"\n',
]
WORDS = [
    *(name.encode() for feature in FEATURES for name in (f"[site.{feature.name}]\n", f"{feature.name} = ")),
    b"[[site]]\n", b"[[site.route]]\n", b"[[listen]]\n", b"[server]\n", b" = ", b'""', b"[]", b"{}", b"true", b"nan",
    b"1e99", b"-1", b"1979-05-27", b'"""', b"when.", b"{host}", b"${A}", b"\\u0000", b"host", b"path", b"file",
]  # fmt: skip
_FOLDER = Path(tempfile.mkdtemp(prefix="securelight-fuzz-configuration-"))


def fuzz(data: bytes) -> None:
    path = _FOLDER / "main.toml"
    path.write_bytes(data)
    for fault in load_leniently(path, FEATURES, {"A": "a", "HOME": "/nowhere"}).faults:
        said = str(fault)
        assert said.isprintable(), said
        place, _, what = said.partition(": ")
        told = "main.toml" in said or "environment" in said or what.endswith(" more faults are not shown")
        assert told or Path(place).exists(), said
