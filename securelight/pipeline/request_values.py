"""The values of one name among the many of a query or of cookies, decoded and bounded in number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from securelight.model.request import Request

QUERY_PARAMETERS: Final = 100
"""Of one query; one with more is refused by a condition that looks for one."""
COOKIES: Final = 200


def query_values(request: Request, name: str) -> list[str]:
    """The decoded values of the parameter `name`.

    Errors: Refusal 400 for more than QUERY_PARAMETERS.
    """
    try:
        pairs = parse_qsl(
            request.query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=QUERY_PARAMETERS
        )
    except ValueError as error:
        raise Refusal(400, "The query has too many parameters.", str(error)) from error
    return [value for key, value in pairs if key == name]


def cookie_values(request: Request, name: str) -> list[str]:
    """The values of the cookie `name` (RFC 6265, section 5.4), quotes taken off; of the first COOKIES."""
    line = request.headers.get(b"cookie")
    if line is None:
        return []
    pairs = (pair.partition("=") for pair in line.decode("latin-1").split(";", COOKIES)[:COOKIES])
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]
