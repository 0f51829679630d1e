"""What configuration may put into response fields, so that no setting can split a response or break its framing."""

from __future__ import annotations

import re

from securelight.model.response import FRAMING_FIELDS

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")


def is_field_name(name: str) -> bool:
    """Whether `name` is a token (RFC 9110, section 5.1)."""
    return _NAME.fullmatch(name) is not None


def is_field_value(value: str) -> bool:
    """Whether `value` is visible ASCII with spaces inside only, or empty (RFC 9110, section 5.5, without obs-text)."""
    return _VALUE.fullmatch(value) is not None


def name_fault(name: str) -> str | None:
    """Why `name` can't be a configured response field; None if it can."""
    if not is_field_name(name):
        return f"{name!r} is not a field name"
    if name.lower().encode() in FRAMING_FIELDS:
        return f"{name} is written by the server itself"
    return None


def field_fault(name: str, value: str) -> str | None:
    """Why `name: value` can't be a configured response field; None if it can."""
    fault = name_fault(name)
    if fault is None and not is_field_value(value):
        fault = f"the value of {name} must be visible ASCII without spaces around it"
    return fault
