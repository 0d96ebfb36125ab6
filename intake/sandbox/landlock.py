"""Which files a sandboxed process may touch: rules that a process gives itself and cannot take back (Linux 5.13).

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from core.errors import Unavailable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls, of the same number on every machine."""
ENOUGH_ALONE = 3
"""From this version on (Linux 6.2) no file elsewhere can be cut short either."""

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_MAKE_REGULAR, _TRUNCATE = 1 << 8, 1 << 14
_RIGHTS_OF_VERSION = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights on files there are from a version on."""
_TCP, _SCOPES = 0b11, 0b11
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _MAKE_REGULAR | _TRUNCATE
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_VERSION_FLAG, _PATH_BENEATH = 1, 1


def version() -> int:
    """The version of the kernel's Landlock; 0 where it has none or it is switched off."""
    if not hasattr(os, "O_PATH"):
        return 0
    return max(0, int(_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Leave this thread nothing but these files and folders; the version that does it.

    Nothing may be started, deleted or renamed, no folder, link or device made, and, where the kernel can, no TCP port
    reached, no abstract socket and no process outside signalled. Paths that do not exist are passed over. "No new
    privileges" has to be set before. Raises `Unavailable` where the kernel has none of it.
    """
    available = version()
    if not available:
        raise Unavailable("this kernel has no Landlock, or it is switched off")
    handled = (1 << max(count for first, count in _RIGHTS_OF_VERSION.items() if first <= available)) - 1
    attributes = struct.pack("=QQQ", handled, _TCP if available >= 4 else 0, _SCOPES if available >= 6 else 0)
    size = 24 if available >= 6 else 16 if available >= 4 else 8
    ruleset = _call(CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        for path, rights in (*((path, _READ) for path in readable), *((path, _WRITE) for path in writable)):
            _allow(ruleset, path, rights & handled)
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return available


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        _call(ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise Unavailable(f"the kernel refused its rules ({os.strerror(ctypes.get_errno())})")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
