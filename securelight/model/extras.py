"""How to install what an optional feature needs: a command that can be copied as it stands."""

from __future__ import annotations

import os
import sys


def install_command(extra: str) -> str:
    """What installs `extra` for the Python that runs this.

    A `pip` that a shell finds may be that of another environment, and systems refuse theirs (PEP 668).
    """
    python = sys.executable or "python3"
    try:
        below = os.path.relpath(python)
    except OSError:  # the current folder is gone
        below = os.pardir
    return f"{python if below.startswith(os.pardir) else below} -m pip install 'securelight[{extra}]'"
