"""Changes the fields of a response, and does it once only for a head that is sent many times (that of a cached file).

What was made of it is kept in `serialised` of the original, where it lives as long as the original does: the changed
response of a shared one, and the changed head alone of one that shares no more than its head with others.
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
        kept = response.serialised
        if kept is None:
            return self._changed(response, shared=False)
        changed: Response | None = kept.get(self._key)
        if changed is None:
            if response.heads is not None:
                changed = self._changed(response, shared=True)
            else:
                bare = Response(response.status, response.fields, content_length=response.content_length)
                changed = self._changed(bare, shared=True)
            kept[self._key] = changed
        if changed.body is response.body:
            return changed
        return Response(
            response.status,
            changed.fields,
            response.body,
            content_length=response.content_length,
            serialised=changed.serialised,
        )

    def once(self, response: Response) -> Response:
        """The same, without keeping it: for a change that is not made again."""
        return self._changed(response, shared=False)

    def _changed(self, response: Response, *, shared: bool) -> Response:
        return Response(
            response.status,
            self._change(response.fields),
            response.body,
            content_length=response.content_length,
            shared=shared,
        )
