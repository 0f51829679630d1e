"""What a check fails with, apart from what it finds."""

from __future__ import annotations

from securelight.model.errors import SecurelightError


class CheckError(SecurelightError):
    """The check cannot be done as it was asked for."""
