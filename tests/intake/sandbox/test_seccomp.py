"""The filter against the kernel's own headers, the kernel itself, and a small interpreter of its language."""

from __future__ import annotations

import os
import platform
import re
import signal
import struct
from pathlib import Path

import pytest

from core.progress import result_of
from intake.sandbox.running import run
from intake.sandbox.seccomp import DENIED, MACHINES, WATCHED, program
from tests.intake.sandbox.conftest import Tasks

HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
THREAD = 0x003D0F00
"""The flags with which glibc starts a thread."""
TMPFILE = 0o20200000
"""O_TMPFILE of x86, and its own bit of it on every machine."""


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    path = Path(HEADERS[machine])
    if not path.exists():
        pytest.skip(f"{path} is not installed (linux-libc-dev)")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())
    numbers = {name: int(number) for name, number in defined}
    column = MACHINES[machine][0]
    for name, ours in {**DENIED, **WATCHED}.items():
        assert ours[column] == numbers.get(name), name


def verdict(machine: str, call: int, *arguments: int, audit: int | None = None, pid: int = 77) -> int:
    """What the filter returns for a system call, by an interpreter of classic BPF."""
    audit = MACHINES[machine][1] if audit is None else audit
    data = struct.pack("=IIQ6Q", call, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("=HBBI", program(machine, pid)))
    value, position = 0, 0
    while True:
        operation, then, otherwise, k = code[position]
        position += 1
        if operation == 0x06:
            return int(k)
        if operation == 0x20:
            value = struct.unpack_from("=I", data, k)[0]
        else:
            holds = {0x15: value == k, 0x25: value > k, 0x45: bool(value & k)}[operation]
            position += then if holds else otherwise


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_decides_by_call_and_arguments(machine: str) -> None:
    column, _ = MACHINES[machine]
    clone, clone3, kill, tgkill, prlimit, openat2, _, openat = (numbers[column] for numbers in WATCHED.values())
    assert None not in (clone, clone3, kill, tgkill, prlimit, openat2, openat)
    read = {"x86_64": 0, "aarch64": 63}[machine]
    assert verdict(machine, read) == ALLOW
    assert all(verdict(machine, call) == EPERM for numbers in DENIED.values() if (call := numbers[column]) is not None)
    assert verdict(machine, read, audit=0x40000003) == KILL  # the same number means another call to i386
    assert verdict(machine, 0x40000000 + read) == ENOSYS  # x32
    assert verdict(machine, 452) == ENOSYS
    assert verdict(machine, clone3) == verdict(machine, openat2) == ENOSYS
    assert verdict(machine, openat, 2**32 - 100, 0, os.O_RDWR | os.O_CREAT) == ALLOW
    assert verdict(machine, openat, 2**32 - 100, 0, os.O_RDWR | TMPFILE) == EPERM
    assert verdict(machine, clone, THREAD) == ALLOW
    assert verdict(machine, clone, signal.SIGCHLD) == EPERM
    assert verdict(machine, kill, 77, 9) == verdict(machine, tgkill, 77, 78, 9) == ALLOW
    assert verdict(machine, kill, 78, 9) == verdict(machine, tgkill, 78, 78, 9) == EPERM
    assert verdict(machine, kill, 2**32 - 1, 9) == EPERM  # everybody
    assert verdict(machine, prlimit, 0, 7, 0, 2**40) == ALLOW
    assert verdict(machine, prlimit, 0, 7, 2**40, 0) == verdict(machine, prlimit, 0, 7, 16, 0) == EPERM


def test_the_kernel_answers_as_the_filter_says(mechanism: str, tasks: Tasks) -> None:
    """Each denied call is made, with arguments that would do nothing anyway."""
    machine = platform.machine()
    if machine not in MACHINES:
        pytest.skip(f"no table for {machine}")
    column = MACHINES[machine][0]
    denied = {name: call for name, numbers in DENIED.items() if (call := numbers[column]) is not None}
    watched = {name: call for name, numbers in WATCHED.items() if (call := numbers[column]) is not None}
    arguments: dict[str, list[int]] = {name: [-1] * 6 for name in denied}
    arguments |= {
        "clone": [signal.SIGCHLD] + [0] * 5,
        "kill": [os.getpid(), 0],
        "tgkill": [os.getpid(), os.getpid(), 0],
    }
    arguments |= {"prlimit64": [0, 7, -1, 0], "open": [0, TMPFILE], "openat": [-1, 0, TMPFILE], "openat2": [-1] * 4}
    answers = result_of(run(tasks("calls", numbers=denied | watched, arguments=arguments)))["answers"]
    assert answers.pop("clone3") == answers.pop("openat2") == "ENOSYS"
    assert {name for name, answer in answers.items() if answer != "EPERM"} == set()
