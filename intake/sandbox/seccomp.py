"""Which system calls a sandboxed process may make: a filter in the kernel, which nothing can take off again.

It allows what reading a file, computing and threads need. Whatever reaches beyond the process answers "not permitted":
sockets, programs, other processes, file modes and links, mounts, and parts of the kernel that no parser has use for.
Nor can it delete or rename files or make folders, so that all it writes can be seen.
https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from core.errors import Unavailable

DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tkill": (200, 130),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "setrlimit": (160, 164),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
    "personality": (135, 92),
    "quotactl": (179, 60),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    "vhangup": (153, 58),
}
"""Numbers on x86_64 and on aarch64; None where there is none."""
WATCHED: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "openat2": (437, 437),
    "open": (2, None),
    "openat": (257, 56),
}
"""Allowed with some arguments only: threads, signals to the process itself, reading a limit, files that have a name."""
NEWEST = 451
"""The newest call that was looked at. Later ones answer that they do not exist, and libraries do without."""
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables above, and the kernel's name of the machine (AUDIT_ARCH)."""

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _MACHINE = 0, 4
_CLONE_THREAD = 0x00010000
_O_TMPFILE = 0x00400000
"""A file without a name, which nobody sees grow."""
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install() -> None:
    """Put this thread, and all that it starts, under the filter; "no new privileges" has to be set before.

    Raises `Unavailable` on a machine that is not in `MACHINES` or where the kernel has no such filters.
    """
    machine = platform.machine()
    if machine not in MACHINES:
        raise Unavailable(f"no list of system calls for {machine}")
    code = program(machine, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    described = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(described), 0, 0):
        raise Unavailable(f"the kernel refused the filter ({os.strerror(ctypes.get_errno())})")


def program(machine: str, pid: int) -> bytes:
    """The filter for a process of that id, 8 bytes an instruction of the classic Berkeley packet filter."""
    column, name = MACHINES[machine]
    calls = {name: call for name, numbers in WATCHED.items() if (call := numbers[column]) is not None}
    return b"".join(
        (
            _load(_MACHINE) + _if(_JUMP_EQUAL, name, 1, 0) + _answer(_KILL),
            _load(_NUMBER) + _if(_JUMP_GREATER, NEWEST, 0, 1) + _fail(errno.ENOSYS),
            *(_if(_JUMP_EQUAL, number, 0, 1) + _fail(errno.EPERM) for number in _denied(column)),
            # Their arguments lie in memory, where a filter cannot look; C libraries then fall back to older ones.
            *(_if(_JUMP_EQUAL, calls[name], 0, 1) + _fail(errno.ENOSYS) for name in ("clone3", "openat2")),
            _when(calls["clone"], _load(_argument(0)) + _if(_JUMP_SET, _CLONE_THREAD, 1, 0) + _fail(errno.EPERM)),
            *(_when(calls[name], _only(_argument(0), pid)) for name in ("kill", "tgkill")),
            _when(calls["prlimit64"], _only(_argument(2), 0) + _only(_argument(2) + 4, 0)),
            *(
                _when(calls[name], _load(_argument(place)) + _if(_JUMP_SET, _O_TMPFILE, 0, 1) + _fail(errno.EPERM))
                for name, place in (("open", 1), ("openat", 2))
                if name in calls
            ),
            _answer(_ALLOW),
        )
    )


def _denied(column: int) -> list[int]:
    return [number for numbers in DENIED.values() if (number := numbers[column]) is not None]


def _when(call: int, checks: bytes) -> bytes:
    """Checks of the arguments of one call, which is allowed where none of them fails."""
    body = checks + _answer(_ALLOW)
    return _if(_JUMP_EQUAL, call, 0, len(body) // 8) + body


def _only(offset: int, value: int) -> bytes:
    return _load(offset) + _if(_JUMP_EQUAL, value, 1, 0) + _fail(errno.EPERM)


def _argument(index: int) -> int:
    """Where the lower half of an argument of 64 bits lies."""
    return 16 + 8 * index


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, 0, 0, offset)


def _if(test: int, value: int, then: int, otherwise: int) -> bytes:
    """Skip `then` instructions where the test holds, else `otherwise`."""
    return _instruction(test, then, otherwise, value)


def _fail(number: int) -> bytes:
    return _answer(_ERRNO | number)


def _answer(value: int) -> bytes:
    return _instruction(_RETURN, 0, 0, value)


def _instruction(code: int, then: int, otherwise: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
