"""From a configuration to a generation of workers that only has to be started: everything that can fail before anything
has changed."""

from __future__ import annotations

from collections.abc import Sequence

from securelight.config.schema import Config, SiteConfig
from securelight.model.errors import CertificateError, SecurelightError
from securelight.pipeline.compile import Feature
from securelight.protocol.engine import choose
from securelight.server.confinement import plan
from securelight.server.event_log import event_log
from securelight.server.generation import Generation
from securelight.server.geo_service import geo_databases
from securelight.server.log_file import LogOutputs
from securelight.server.process_hardening import write_no_core
from securelight.server.sockets import BoundSockets
from securelight.tls.client_trust import ClientTrust, read_authorities, read_revocations
from securelight.tls.identity import TlsSite, build_identities
from securelight.tls.key_pair import prove, read_pair
from securelight.tls.reload import CertificateWatcher


class FaultyCertificates(SecurelightError):
    """Certificates that cannot be served, one line for each."""


def prepare(
    config: Config, features: Sequence[Feature], sockets: BoundSockets, *, forgiving: bool = False
) -> Generation:
    """Read the certificates, open the log, bind what is not bound yet; from here on, this process writes no core.

    Args:
        config: what to serve.
        features: the feature table.
        sockets: those that are bound; new ones are added, none if anything fails.
        forgiving: a revocation list that cannot be read does not fail; its site refuses all client certificates.

    Errors: ConfigError, FaultyCertificates.
    """
    engines = choose(config.server.engine)  # imported before the fork: their pages are shared, and no others are split
    confinement = plan(config)
    if config.server.geoip.databases:  # read once, and the library with it, before workers may open little
        geo_databases(config.server.geoip.databases, event_log("supervisor"))
    if config.server.sandbox.mode != "off":
        write_no_core()
    sites = [
        TlsSite(
            site.hosts,
            site.tls,
            tuple((site.base / pair.chain, site.base / pair.key) for pair in site.certificates),
            site.where,
            client_trust(site),
        )
        for site in config.sites
    ]
    trusts = [site.clients for site in sites if site.clients is not None]
    watcher = CertificateWatcher(dict.fromkeys(pair for site in sites for pair in site.certificates), trusts)
    try:
        identities = build_identities(sites, forgiving=forgiving)
    except CertificateError as error:
        raise FaultyCertificates(_all_faults(sites) or str(error)) from error
    logs = LogOutputs(config)
    try:
        listens = sockets.bind_all(config.listens)
    except BaseException:
        for command in logs.end():
            command.abandon()
        raise
    return Generation(config, features, engines, listens, identities, watcher, logs, confinement)


def client_trust(site: SiteConfig) -> ClientTrust | None:
    """Which client certificates `site` asks for; None if it asks for none."""
    rules = site.client_certificates
    if rules is None:
        return None
    revocations = site.base / rules.revocations if rules.revocations else None
    return ClientTrust(rules.required, site.base / rules.authorities, revocations, site.where)


def _all_faults(sites: Sequence[TlsSite]) -> str:
    faults = []
    for chain, key in dict.fromkeys(pair for site in sites for pair in site.certificates):
        try:
            prove(*read_pair((chain, key)), chain_name=str(chain), key_name=str(key))
        except CertificateError as error:
            faults.append(str(error))
    for clients in [site.clients for site in sites if site.clients is not None]:
        try:
            read_authorities(clients.authorities)
            if clients.revocations is not None:
                read_revocations(clients.revocations)
        except CertificateError as error:
            faults.append(str(error))
    return "\n".join(faults)
