"""Landlock: a process gives up, for itself and all that it starts, every file that it has not named.

Source: the kernel's userspace-api/landlock. Files that are open already stay open, so listening sockets, logs and
channels are not concerned. What the kernel is too old for is left out of what is given up; each step of its ABI is
named below. It binds the calling thread alone, so it has to be called before there are others.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
"""The same on every architecture but Alpha, where they fail."""
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (
    1 << bit for bit in range(4, 13)
)
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = (1 << 13) - 1
_ADDED: Final = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
"""Rights over files that later versions brought."""
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""What a rule for something that is not a folder may allow."""
READ: Final = _READ_FILE | _READ_DIR
RUN: Final = READ | _EXECUTE
WRITE: Final = (
    READ
    | _WRITE_FILE
    | _TRUNCATE
    | _MAKE_REG
    | _MAKE_DIR
    | _MAKE_SOCK
    | _MAKE_SYM
    | _REMOVE_FILE
    | _REMOVE_DIR
    | _REFER
)
"""What a path may be named for. None of them makes devices."""

_NETWORK_ABI, _SCOPE_ABI = 4, 6
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def version() -> int:
    """The kernel's Landlock ABI; 0 if it has none, or has it switched off."""
    try:
        return _call(_SYS_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    except OSError:
        return 0


def restrict(rules: Iterable[tuple[Path, int]], *, connects: bool) -> None:
    """Give up every file but those of `rules`, TCP ports to listen on, and signals to processes outside.

    Args:
        rules: paths, each with READ, RUN or WRITE, folders with all that is below them. One that is not there, or that
            we could not open anyway, is passed over.
        connects: whether TCP connections may be opened, and abstract unix sockets reached.

    Errors: OSError if the kernel refuses. No new privileges (PR_SET_NO_NEW_PRIVS) must have been set.
    """
    abi = version()
    if not abi:
        raise OSError(errno.EOPNOTSUPP, "this kernel has no Landlock")
    handled = _FIRST_ABI
    for since, right in _ADDED:
        handled |= right if abi >= since else 0
    attributes = _RulesetAttributes(handled)
    size = 8
    if abi >= _NETWORK_ABI:
        attributes.handled_access_net = _BIND_TCP | (0 if connects else _CONNECT_TCP)
        size = 16
    if abi >= _SCOPE_ABI:
        attributes.scoped = _SCOPE_SIGNAL | (0 if connects else _SCOPE_ABSTRACT_UNIX_SOCKET)
        size = 24
    ruleset = _call(_SYS_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        _call(_SYS_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        beneath = _PathBeneath(rights, descriptor)
        _call(_SYS_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), ctypes.byref(beneath),
              ctypes.c_uint32(0))  # fmt: skip
    finally:
        os.close(descriptor)
