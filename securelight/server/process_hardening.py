"""What a process gives up that it never needs: root, capabilities, new privileges, core dumps, and being looked into.

Each step is for good, for the process and what it starts. See docs/hardening.md for what each of them prevents.
"""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import pwd
import resource
from typing import TYPE_CHECKING

from securelight.model.errors import ConfigError

if TYPE_CHECKING:
    from securelight.config.schema import ServerConfig

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 4, 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _control(option: int, argument: int) -> None:
    unsigned = ctypes.c_ulong
    if _libc.prctl(ctypes.c_int(option), unsigned(argument), unsigned(0), unsigned(0), unsigned(0)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_no_core() -> None:
    """Leave no image of our memory on the disk when we die, nor of that of what we start: there are keys in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hide_memory() -> None:
    """Let no other process of our user look into our memory, where there are keys that this user cannot read.

    The files of /proc/self then belong to root, and debuggers and profilers attach as root alone. A program that is
    started from here can be looked into again.
    """
    _control(_PR_SET_DUMPABLE, 0)


def refuse_new_privileges() -> None:
    """Start no program that would have more rights than we do: set-user-ID bits and file capabilities do nothing."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability that was handed to us for starting, such as that of binding port 443.

    Root keeps its own: without them it could not read what other users may not show to anybody else.
    """
    if os.geteuid() == 0:
        return
    _control(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(ctypes.byref(header), (_CapabilityData * 2)()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def harden_worker(server: ServerConfig) -> None:
    """Take every step that `server` does not switch off, before code of anybody runs in the worker.

    Errors: ConfigError; OSError if the kernel refuses, which none does.
    """
    was_root = os.geteuid() == 0
    become_user(server)
    if was_root and os.geteuid() != 0 and os.getresuid() != (os.geteuid(),) * 3:
        raise ConfigError("server.user", "the rights of root are still within reach")
    if server.sandbox.mode == "off":
        return
    drop_capabilities()
    refuse_new_privileges()
    write_no_core()
    if was_root and os.geteuid() != 0:
        hide_memory()


def become_user(server: ServerConfig) -> None:
    """Become `server.user` and `server.group`, with the supplementary groups of that user and no others.

    Errors: ConfigError.
    """
    user, group = server.user, server.group
    if not user and not group:
        return
    try:
        account = pwd.getpwnam(user) if user else None
        group_id = grp.getgrnam(group).gr_gid if group else account.pw_gid if account else os.getgid()
    except KeyError as error:
        raise ConfigError("server.user", f"there is no such user or group: {error}") from error
    if os.geteuid() != 0 and (account is None or account.pw_uid == os.geteuid()) and group_id == os.getegid():
        return  # that is who we are already
    try:
        if account is not None:
            os.initgroups(account.pw_name, group_id)
        else:
            os.setgroups([])
        os.setresgid(group_id, group_id, group_id)
        if account is not None:
            os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    except OSError as error:
        why = "only root can" if error.errno == errno.EPERM else error.strerror
        raise ConfigError("server.user", f"cannot become {user or group}: {why}") from error
