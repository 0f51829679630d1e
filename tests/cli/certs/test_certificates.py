"""`certs ca`, `issue`, `list`, `revoke` and `crl` as a person at a terminal meets them, good days and bad ones."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from securelight.cli.main import main
from securelight.pki.authority import AuthorityWish, ensure_authority
from securelight.pki.chain_facts import load_chain
from securelight.tls.client_trust import read_revocations
from tests.tls.handshakes import client_context, handshake


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens in a folder of its own; nobody's passphrase is in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("SECURELIGHT"):
            monkeypatch.delenv(name)


def certs(*arguments: str, status: int = 0, **settings: Any) -> Result:
    result = CliRunner().invoke(main, ["certs", *arguments], **settings)
    assert result.exit_code == status, result.output
    return result


def facts(*arguments: str, status: int = 0) -> Any:
    return json.loads(certs(*arguments, "--json", status=status).stdout)


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("certs").iterdir()}


def leaf(file: str) -> x509.Certificate:
    return load_chain(Path(file).read_bytes(), file)[0]


# ca


def test_the_authority_is_made_once_and_shown_after_that() -> None:
    made = certs("ca").output
    assert made.startswith("Made securelight local CA ")
    assert "certs trust" in made
    before = files()
    shown = certs("ca").output
    assert "Made" not in shown
    assert files() == before
    for word in ("certs/ca.pem", "certs/intermediate.pem", "SHA-256", "localhost, test, local, internal"):
        assert word in shown


def test_it_can_be_read_by_programs() -> None:
    told = facts("ca", "--key-type", "ecdsa-p384", "--permit", "example.com")
    assert told["authority"] == "made"
    assert told["root"]["key_type"] == told["intermediate"]["key_type"] == "ECDSA P-384"
    assert "example.com" in told["permitted"]
    assert facts("ca")["authority"] == "present"
    assert facts("ca")["root"]["sha256"] == told["root"]["sha256"]


def test_unconstrained_says_what_it_means() -> None:
    result = certs("ca", "--unconstrained")
    assert "can pose as any site" in result.stderr
    assert "every name on the internet" in result.stdout
    certs("issue", "www.example.com")


def test_more_is_permitted_by_renewing_in_place() -> None:
    certs("ca")
    before = leaf("certs/ca.pem")
    refused = certs("ca", "--permit", "example.com", status=1)
    assert "add --renew" in refused.stderr
    certs("ca", "--permit", "example.com", "--permit", "203.0.113.0/24", "--renew")
    after = leaf("certs/ca.pem")
    assert after.public_key() == before.public_key()
    assert after.subject == before.subject
    certs("issue", "www.example.com", "203.0.113.9")
    certs("ca", "--permit", "example.com", "--permit", "203.0.113.0/28")  # is permitted already


def test_renewal_alone_changes_no_limits() -> None:
    certs("ca", "--permit", "example.com")
    certs("issue", "www.example.com")
    limits = facts("ca")["permitted"]
    assert facts("ca", "--renew")["permitted"] == limits
    handshake_with("www.example.com")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key-type", "rsa-3072"], "keeps it"),
        (["--unconstrained"], "add --renew"),
        (["--passphrase"], "only to the keys of a new authority"),
        (["--permit", "https://a.com"], "neither a host name"),
    ],
)
def test_another_wish_for_the_one_there_is_is_refused(arguments: list[str], words: str) -> None:
    certs("ca")
    before = files()
    assert words in certs("ca", *arguments, status=1).stderr
    assert files() == before


def test_what_cannot_be_permitted_makes_nothing() -> None:
    certs("ca", "--permit", "10.0.0.1/8", status=1)
    assert not Path("certs").exists()


def test_a_passphrase_from_a_file_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_text("sesame\n")
    certs("ca", "--passphrase-file", "secret")
    assert b"ENCRYPTED" in Path("certs/ca.key").read_bytes()
    assert "with a passphrase" in certs("ca").output
    refused = certs("issue", "a.test", status=1)
    assert "has a passphrase, and none was given" in refused.stderr
    Path("wrong").write_text("open\n")
    assert "wrong" in certs("issue", "a.test", "--passphrase-file", "wrong", status=1).stderr
    assert not Path("certs/a.test.pem").exists()
    certs("issue", "a.test", "--passphrase-file", "secret")
    certs("issue", "a.test")  # nothing to do, nothing to sign
    monkeypatch.setenv("SECURELIGHT_CERTS_PASSPHRASE", "sesame")
    certs("issue", "b.test")
    certs("revoke", "b.test")


def test_a_new_passphrase_is_asked_for_twice() -> None:
    certs("ca", "--passphrase", input="sesame\nsesame\n")
    assert b"ENCRYPTED" in Path("certs/intermediate.key").read_bytes()


@pytest.mark.parametrize("content", ["", "\n", "a\nb\n", "x" * 2000])
def test_an_odd_passphrase_file_makes_nothing(content: str) -> None:
    Path("secret").write_text(content)
    assert "is to hold one line" in certs("ca", "--passphrase-file", "secret", status=1).stderr
    assert not Path("certs").exists()


@pytest.mark.parametrize("name", ["ca.key", "intermediate.key"])
def test_a_key_that_others_may_read_is_refused_with_the_cure(name: str) -> None:
    certs("ca")
    (Path("certs") / name).chmod(0o640)
    for command in (["ca"], ["issue", "a.test"]):
        assert f"chmod 600 certs/{name}" in certs(*command, status=1).stderr


# issue


def handshake_with(name: str, stem: str = "") -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stem = stem or f"certs/{name}"
    server.load_cert_chain(f"{stem}.pem", f"{stem}.key")
    handshake(server, client_context(Path("certs/ca.pem")), name)


def test_what_is_issued_is_accepted_under_every_name() -> None:
    certs("issue", "a.test", "*.a.test", "10.1.2.3", "::1")
    for name in ("a.test", "www.a.test", "10.1.2.3", "::1"):
        handshake_with(name, "certs/a.test")
    assert Path("certs/a.test.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
def test_every_key_type_serves(key_type: str) -> None:
    certs("issue", "a.test", "--key-type", key_type)
    handshake_with("a.test")


def test_a_second_run_changes_nothing_and_another_wish_does() -> None:
    certs("issue", "a.test", "b.test")
    before = files()
    for same in (["a.test", "b.test"], ["b.test", "A.TEST."], ["a.test", "b.test", "--out", "certs/a.test"]):
        if same[0] == "a.test":
            assert "Nothing to do" in certs("issue", *same).output
    assert files() == before
    serials = {leaf("certs/a.test.pem").serial_number}
    for other in (["--days", "30"], ["--key-type", "rsa-2048"], ["c.test"], ["--force", "c.test"]):
        assert "Made" in certs("issue", "a.test", "b.test", *other).output
        serials.add(leaf("certs/a.test.pem").serial_number)
    assert len(serials) == 5


def test_what_is_near_its_end_is_renewed() -> None:
    now = datetime.now(UTC)
    certs("issue", "a.test", "--days", "90", "--not-before", (now - timedelta(days=70)).isoformat())
    assert "Made" in certs("issue", "a.test", "--days", "90").output
    assert "Nothing to do" in certs("issue", "a.test", "--days", "90").output


def test_times_are_as_wished_for_past_or_future() -> None:
    certs("issue", "old.test", "--not-before", "2020-01-01", "--not-after", "2021-02-03T04:05:06+01:00")
    old = leaf("certs/old.test.pem")
    assert old.not_valid_before_utc == datetime(2020, 1, 1, tzinfo=UTC)
    assert old.not_valid_after_utc == datetime(2021, 2, 3, 3, 5, 6, tzinfo=UTC)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake_with("old.test")
    certs("issue", "new.test", "--not-before", "2045-01-01")
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        handshake_with("new.test")
    assert "Nothing to do" in certs("issue", "new.test", "--not-before", "2045-01-01").output
    assert certs("list", status=0).output.count("expired") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["example.com"], 1, "certs ca --permit"),
        (["8.8.8.8"], 1, "is not a local name"),
        (["alice@example.com", "a.test"], 1, "is not a local name"),
        (["https://a.test/"], 1, "no https://"),
        (["a b"], 1, "neither a host name"),
        ([], 2, "Whom is it for"),
        (["--client"], 2, "--user or --subject"),
        (["a.test", "--user", "alice"], 2, "add --client"),
        (["--client", "--user", "a", "--subject", "CN=b"], 2, "give one of them"),
        (["--client", "--subject", "rubbish"], 1, "no distinguished name"),
        (["--client", "--user", "alice.example.com"], 1, "looks like a host name"),
        (["--client", "--user", "x" * 65], 1, "1 to 64 characters"),
        (["a.test", "--days", "0"], 2, "days"),
        (["a.test", "--days", "99999999"], 1, "36500"),
        (["a.test", "--not-after", "yesterday"], 2, "is no time"),
        (["a.test", "--not-before", "2026-01-02", "--not-after", "2026-01-01"], 1, "before it begins"),
        (["a.test", "--not-after", "1900-01-01"], 1, "cannot be made"),
        (["a.test", "--csr", "nothing.csr"], 1, "cannot be read"),
        (["a.test", "--out", "certs/ca"], 1, "authority's own files"),
        (["intermediate.test", "--out", "certs/intermediate"], 1, "authority's own files"),
        (["a.test", "--out", "nowhere/shop"], 1, "is not a folder"),
    ],
)
def test_a_bad_wish_is_one_clear_error_and_changes_nothing(arguments: list[str], status: int, words: str) -> None:
    certs("ca")
    before = files()
    result = certs("issue", *arguments, status=status)
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert {name: content for name, content in files().items() if name != ".lock"} == {
        name: content for name, content in before.items() if name != ".lock"
    }


def test_client_certificates_have_a_user_and_are_for_clients_alone() -> None:
    certs("issue", "--client", "--user", "alice")
    certs("issue", "--client", "bob@shop.test", "--subject", "CN=bob,O=Shop")
    alice, bob = leaf("certs/alice.pem"), leaf("certs/bob@shop.test.pem")
    assert alice.subject.rfc4514_string() == "CN=alice"
    assert bob.subject.rfc4514_string() == "CN=bob,O=Shop"
    usage = alice.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert "Nothing to do" in certs("issue", "--client", "--user", "alice").output
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake_with("alice", "certs/alice")


def make_request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *names: str) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(key, SHA256())


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_signing_request_keeps_its_key_to_itself(encoding: Encoding) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    Path("router.csr").write_bytes(make_request(key, "router.test").public_bytes(encoding))
    certs("issue", "--csr", "router.csr")
    assert leaf("certs/router.test.pem").public_key() == key.public_key()
    assert not Path("certs/router.test.key").exists()
    assert "Nothing to do" in certs("issue", "--csr", "router.csr").output
    certs("issue", "--csr", "-", "other.test", input=Path("router.csr").read_bytes())
    assert leaf("certs/other.test.pem").public_key() == key.public_key()


def test_a_signing_request_that_proves_nothing_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    good = make_request(key, "router.test").public_bytes(Encoding.DER)
    weak = make_request(rsa.generate_private_key(public_exponent=65537, key_size=1024), "router.test")
    foreign = make_request(key, "www.example.com")
    for content, words in (
        (good[:-1] + bytes([good[-1] ^ 1]), "is not signed with its own key"),
        (weak.public_bytes(Encoding.PEM), "1024 bits"),
        (foreign.public_bytes(Encoding.PEM), "is not a local name"),
        (make_request(key).public_bytes(Encoding.PEM), "has no names"),
        (b"rubbish", "cannot be read"),
        (b"", "cannot be read"),
    ):
        Path("router.csr").write_bytes(content)
        assert words in certs("issue", "--csr", "router.csr", status=1).stderr
    assert not Path("certs/router.test.pem").exists()


def test_pkcs12_holds_key_and_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "changeit" in certs("issue", "a.test", "--pkcs12").output
    monkeypatch.setenv("SECURELIGHT_CERTS_PKCS12_PASSWORD", "sesame")
    assert "sesame" not in certs("issue", "b.test", "--pkcs12", "--out", "shop").output
    for file, password in (("certs/a.test.p12", b"changeit"), ("shop.p12", b"sesame")):
        key, certificate, above = pkcs12.load_key_and_certificates(Path(file).read_bytes(), password)
        assert key is not None
        assert certificate is not None
        assert [one.subject for one in above] == [certificate.issuer]
        assert Path(file).stat().st_mode & 0o777 == 0o600


def test_issue_makes_an_authority_if_there_is_none_and_says_so() -> None:
    assert "the authority was made as well" in certs("issue", "a.test").output
    handshake_with("a.test")


def test_processes_that_issue_at_once_do_not_lose_each_others_records() -> None:
    names = [f"n{number}.test" for number in range(4)]
    command = [sys.executable, "-m", "securelight", "certs", "issue"]
    started = [subprocess.Popen([*command, name], stdout=subprocess.DEVNULL) for name in names]
    assert [process.wait(timeout=60) for process in started] == [0] * 4
    told = facts("list")["certificates"]
    assert sorted(name for one in told if one["kind"] == "server" for name in one["names"]) == names
    for name in names:
        handshake_with(name)


FULL_DISK = """
import resource, signal, sys
sys.dont_write_bytecode = True  # a module that is cut off would be found by the next one
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["securelight", "certs", *sys.argv[2:]]
from securelight.cli.main import main
main()
"""
"""Writing past a limit fails in the middle of a file, as on a disk that is full."""


@pytest.mark.parametrize("size", [0, 200, 400])
def test_a_full_disk_leaves_everything_as_it_was(size: int) -> None:
    certs("issue", "a.test", "b.test")
    before = files()
    for arguments in (["issue", "a.test", "--force"], ["issue", "new.test"], ["ca", "--renew"], ["revoke", "a.test"]):
        command = [sys.executable, "-c", FULL_DISK, str(size), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1, done.stdout
        assert "cannot be written: File too large" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert files() == before
    handshake_with("a.test")


# list, revoke, crl


def test_the_list_tells_what_expires_by_its_exit_code() -> None:
    certs("issue", "a.test")
    assert facts("list")["exit_status"] == 0
    certs("issue", "soon.test", "--days", "20")
    assert "expiring" in certs("list", status=3).output
    certs("list", "--within", "10", status=0)
    quiet = certs("list", "--quiet", status=3).output
    assert "soon.test" in quiet
    assert "a.test" not in quiet.replace("soon.test", "")
    hour_ago, start = datetime.now(UTC) - timedelta(hours=1), "2026-01-01"
    _forget_when_issued(lambda: certs("issue", "gone.test", "--not-before", start, "--not-after", hour_ago.isoformat()))
    assert "expired" in certs("list", status=4).output


def _forget_when_issued(make: Any) -> None:
    """As if the certificate had been made when its life began."""
    make()
    record = json.loads(Path("certs/issued.json").read_text())
    record["certificates"][-1]["issued"] = record["certificates"][-1]["not_before"]
    Path("certs/issued.json").write_text(json.dumps(record))


def test_what_was_replaced_is_hidden_and_does_not_count() -> None:
    certs("issue", "a.test", "--days", "20")
    certs("issue", "a.test")
    assert certs("list").output.count("a.test.pem") == 1
    assert certs("list", "--all").output.count("a.test.pem") == 2
    Path("certs/a.test.pem").unlink()
    assert "a.test" not in certs("list").output


def test_an_authority_near_its_end_counts() -> None:
    Path("certs").mkdir(mode=0o700)
    ensure_authority(Path("certs"), datetime.now(UTC) - timedelta(days=3640), AuthorityWish(intermediate=False))
    assert "root" in certs("list", "--quiet", status=3).output
    certs("ca")  # renews it
    certs("list", "--quiet", status=0)


def test_without_an_authority_there_is_one_error() -> None:
    for command in (["list"], ["revoke", "a.test"], ["crl"]):
        assert "there is no authority here" in certs(*command, status=1).stderr


def test_a_damaged_record_is_refused_and_kept() -> None:
    certs("issue", "a.test")
    for content in ("{", "[]", '{"version": 2}', '{"certificates": [1]}'):
        Path("certs/issued.json").write_text(content)
        for command in (["list"], ["revoke", "a.test"], ["issue", "b.test"]):
            assert "is damaged" in certs(*command, status=1).stderr
        assert Path("certs/issued.json").read_text() == content


def revoked_serials() -> set[int]:
    lists = Path("certs/crl.pem").read_bytes().split(b"-----END X509 CRL-----")[:-1]
    return {one.serial_number for pem in lists for one in x509.load_pem_x509_crl(pem + b"-----END X509 CRL-----")}


@pytest.mark.parametrize("by", ["name", "file", "serial"])
def test_a_certificate_is_taken_back(by: str) -> None:
    certs("issue", "--client", "--user", "alice")
    certs("issue", "--client", "--user", "bob")
    serial = leaf("certs/alice.pem").serial_number
    what = {"name": "alice", "file": "certs/alice.pem", "serial": f"{serial:X}"}[by]
    certs("revoke", what, "--reason", "keyCompromise")
    assert revoked_serials() == {serial}
    assert "Nothing to do" in certs("revoke", what).output
    assert "revoked" in certs("list").output
    assert "Made" in certs("issue", "--client", "--user", "alice").output
    assert leaf("certs/alice.pem").serial_number != serial
    certs("ca", "--renew")
    certs("crl")
    assert revoked_serials() == {serial}


def test_a_name_of_several_is_not_guessed_at() -> None:
    certs("issue", "a.test")
    certs("issue", "a.test", "--force")
    assert "several certificates" in certs("revoke", "a.test", status=1).stderr
    certs("revoke", "a.test", "--all")
    assert len(revoked_serials()) == 2


@pytest.mark.parametrize("what", ["nobody", "", "certs/ca.pem", "certs/ca.key", "0"])
def test_what_is_not_on_record_cannot_be_revoked(what: str) -> None:
    certs("issue", "a.test")
    certs("revoke", what, status=1)
    assert not Path("certs/crl.pem").exists()


def test_the_list_of_revoked_ones_is_what_servers_read() -> None:
    certs("ca")
    assert "number 1, with 0 revoked certificates" in certs("crl", "--days", "9").output
    lists = read_revocations(Path("certs/crl.pem")).lists
    assert len(lists) == 2
    for one in lists:
        assert one.next_update is not None
        assert abs(one.next_update - datetime.now(UTC) - timedelta(days=9)) < timedelta(minutes=5)
    assert "Nothing to do" in certs("crl", "--if-due", "--days", "9").output
    assert "number 2" in certs("crl", "--if-due", "--days", "90").output
    certs("crl", "--out", "elsewhere.pem")
    assert Path("elsewhere.pem").exists()
    certs("crl", "--days", "5")
    assert "revocation list" in certs("list", "--quiet", status=3).output
