"""How nghttp2 is set up: bounds that lie behind ours, so that ours speak first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ngh2

from securelight.protocol.frame_walk import HEAD_SLACK

if TYPE_CHECKING:
    from securelight.model.limits import Limits

ENGINE_BURST = 1_000_000
"""The engine's own flood bounds: out of the way of ours, which count the same and more."""

_configured: tuple[Limits, ngh2.Configuration] | None = None
"""The last one that was made: there is one Limits in a worker, and to compare all of it takes long."""


def nghttp2_configuration(limits: Limits) -> ngh2.Configuration:
    """The one for connections with these `limits`."""
    global _configured  # noqa: PLW0603 - as it says
    if _configured is None or _configured[0] is not limits:
        _configured = (
            limits,
            ngh2.Configuration(
                auto_window_update=False,
                max_settings=limits.settings_entries,
                max_continuations=limits.continuation_frames,
                max_outbound_ack=2 * limits.control_frames + 1000,
                stream_reset_rate_limit=(ENGINE_BURST, ENGINE_BURST),
                glitch_rate_limit=(ENGINE_BURST, ENGINE_BURST),
                max_inbound_header_list_size=HEAD_SLACK * limits.request_head_bytes,
                max_inbound_header_count=HEAD_SLACK * limits.request_fields,
            ),
        )
    return _configured[1]
