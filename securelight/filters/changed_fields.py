"""Changes the fields of a response, and does it once only for one that is sent many times (a cached file).

The changed response is kept in the `heads` of the original, where it lives as long as the original does.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from securelight.model.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.headers import Fields

_numbers = itertools.count()


class FieldChange:
    """One change, such as that of one filter of one route.

    Args:
        change: from the fields of a response to the new ones; depends on nothing else.
    """

    __slots__ = ("_change", "_key")

    def __init__(self, change: Callable[[Fields], Fields]) -> None:
        self._change = change
        self._key = f"field change {next(_numbers)}"

    def apply(self, response: Response) -> Response:
        """`response` with the changed fields; the body is the same object."""
        kept = response.heads
        if kept is None:
            return self._changed(response, shared=False)
        changed: Response | None = kept.get(self._key)
        if changed is None:
            changed = kept[self._key] = self._changed(response, shared=True)
        return changed

    def _changed(self, response: Response, *, shared: bool) -> Response:
        return Response(
            response.status,
            self._change(response.fields),
            response.body,
            content_length=response.content_length,
            shared=shared,
        )
