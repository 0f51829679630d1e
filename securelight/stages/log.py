"""An access log for a site or route of its own: another place, another format, fewer lines, or none.

The stage only notes which log a request belongs to; server/site_logs writes it. It comes before all others, so that
what they refuse is in the right log. What has no route yet (a wrong host, no request at all) is in the server's log.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from securelight.config.log_settings import SiteLogConfig
from securelight.config.logs import FEATURE_NAME, option_faults
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request


def check(settings: SiteLogConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = [f"{key}: {what}" for key, what in option_faults(settings)]
    if settings.file not in ("", "-") and not (base / settings.file).parent.is_dir():
        faults.append(f"file: there is no folder {str((base / settings.file).parent)!r}")
    if settings.command and settings.command[0] and shutil.which(settings.command[0]) is None:
        faults.append(f"command: there is no program {settings.command[0]!r}")
    return faults


def build(settings: SiteLogConfig, context: BuildContext) -> None:
    """Put the stage before all others of the route.

    Errors: ConfigError for what is wrong with the settings.
    """
    faults = [f"{key}: {what}" for key, what in option_faults(settings)]
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    where = context.where

    def log(_request: Request, facts: Facts) -> None:
        facts.log = where

    context.first.append(log)


FEATURE = Feature(
    name=FEATURE_NAME, kind="stage", config_class=SiteLogConfig, build=build, check=check, repeatable=True
)
