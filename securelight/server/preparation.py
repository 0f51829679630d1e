"""From a configuration to a generation of workers that only has to be started: everything that can fail before anything
has changed."""

from __future__ import annotations

from collections.abc import Sequence

from securelight.config.schema import Config
from securelight.pipeline.compile import Feature
from securelight.server.generation import Generation
from securelight.server.log_file import close_log, open_log
from securelight.server.sockets import BoundSockets
from securelight.tls.identity import TlsSite, build_identities
from securelight.tls.reload import CertificateWatcher


def prepare(config: Config, features: Sequence[Feature], sockets: BoundSockets) -> Generation:
    """Read the certificates, open the log, bind what is not bound yet.

    Args:
        config: what to serve.
        features: the feature table.
        sockets: those that are bound; new ones are added, none if anything fails.

    Errors: ConfigError, CertificateError.
    """
    sites = [
        TlsSite(
            site.hosts,
            site.tls,
            tuple((site.base / pair.chain, site.base / pair.key) for pair in site.certificates),
            site.where,
        )
        for site in config.sites
    ]
    watcher = CertificateWatcher(dict.fromkeys(pair for site in sites for pair in site.certificates))
    identities = build_identities(sites)
    log_descriptor = open_log(config)
    try:
        listens = sockets.bind_all(config.listens)
    except BaseException:
        close_log(log_descriptor)
        raise
    return Generation(config, features, listens, identities, watcher, log_descriptor)
