"""Parsers that do what a parser that was taken over might do; they run only in the sandbox."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import Refused
from core.progress import Note, Progress, Steps

Options = Mapping[str, Any]


def honest(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Reads, reports, uses threads and libraries, writes."""
    import numpy as np

    print("a library is talkative")
    yield Note(text="begun")
    yield Progress(done=1, total=2, unit="parts")
    sums: list[float] = []
    threads = [threading.Thread(target=lambda: sums.append(float(np.ones((50, 50)).dot(np.ones(50)).sum())))] * 1
    for thread in threads:
        thread.start()
        thread.join()
    (out / "written").write_bytes(file.read_bytes())
    return {"sums": sums, "options": dict(options), "environment": sorted(os.environ), "uid": os.getuid()}


def engine(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Answers of a model in ONNX Runtime, computed by several threads."""
    yield from ()
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(file.read_bytes(), settings)
    (answers,) = session.run(None, {"x": np.eye(64, dtype=np.float32)})
    return {"total": float(answers.sum())}


def beside(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Writes into the second folder, and tries to make another in it and to delete from it."""
    yield from ()
    folder = Path(options["into"])
    (folder / "written").write_text("content")
    tried = {"folder": lambda: (folder / "deeper").mkdir(), "deleted": (folder / "written").unlink}
    found = {}
    for what, act in tried.items():
        try:
            act()
        except OSError as error:
            found[what] = errno.errorcode[error.errno or 0]
    return {"temporary": os.environ["TMPDIR"], **found}


def refuse(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield from ()
    (out / "half").write_text("half of it")
    raise Refused("it is a program", expected="weights", action="Save it again", snippet="torch.save(...)")


def calls(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """For each system call by name, what the kernel answers to it, as the name of an error."""
    yield from ()
    libc = ctypes.CDLL(None, use_errno=True)
    answers = {}
    for name, number in options["numbers"].items():
        ctypes.set_errno(0)
        arguments = options["arguments"].get(name, [0, 0, 0, 0, 0, 0])
        result = libc.syscall(number, *(ctypes.c_long(each) for each in arguments))
        answers[name] = errno.errorcode[ctypes.get_errno()] if result < 0 else f"gave {result}"
    return {"answers": answers, "machine": platform.machine(), "pid": os.getpid()}


def ways_out(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """For each way out by name, the error it met."""
    yield from ()
    secret, elsewhere, port = Path(options["secret"]), Path(options["elsewhere"]), options["port"]
    attempts: dict[str, Callable[[], object]] = {
        "read a file beside the upload": secret.read_bytes,
        "list what lies beside the upload": lambda: _beside(file),
        "read the code of another package": Path(options["code"]).read_bytes,
        "write the uploaded file": lambda: file.open("r+b").write(b"x"),
        "cut the uploaded file short": lambda: os.truncate(file, 0),
        "write elsewhere": lambda: elsewhere.write_bytes(b"x"),
        "write into a library": lambda: Path(json.__file__).with_name("evil.py").write_text("x"),
        "delete a file": secret.unlink,
        "make a folder": (out / "inner").mkdir,
        "rename a file": lambda: os.rename(_write(out / "old"), out / "new"),
        "a file without a name": lambda: os.open(out, os.O_TMPFILE | os.O_RDWR),
        "link out of the folder": lambda: (out / "link").symlink_to("/etc/passwd"),
        "link a file": lambda: os.link(file, out / "hard"),
        "make a pipe": lambda: os.mkfifo(out / "pipe"),
        "change the mode of what it wrote": lambda: _write(out / "mode").chmod(0o4755),
        "connect": lambda: socket.create_connection(("127.0.0.1", port), timeout=2),
        "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
        "abstract socket": lambda: socket.socket(socket.AF_UNIX),
        "a shell": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
        "fork": os.fork,
        "signal the parent": lambda: os.kill(options["parent"], 0),
        "read the parent's environment": Path(f"/proc/{options['parent']}/environ").read_bytes,
        "raise a limit": lambda: __import__("resource").setrlimit(7, (4096, 4096)),
        "shared memory": lambda: os.memfd_create("more"),
    }
    return {name: _error(attempt) for name, attempt in attempts.items()}


def crash(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield Progress(done=0, total=1, unit="parts")
    ctypes.string_at(0)
    return {}


def hang(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield Note(text=str(os.getpid()))
    while True:
        time.sleep(0.05)


def devour(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield from ()
    kept = []
    while True:
        kept.append(bytearray(2**24))


def fill(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Many files, each of them small."""
    yield from ()
    for index in range(40):
        (out / f"{index}").write_bytes(bytes(2**20))
    return {}


def one_large_file(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield from ()
    (out / "large").write_bytes(bytes(2**25))
    return {}


def stumble(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield from ()
    raise ZeroDivisionError


def leave(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield from ()
    os._exit(3)


def forge(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Says what the child itself would never say, on the channel to the parent."""
    yield from ()
    line = {
        "endless line": "x" * (33 * 2**20),
        "deep": '{"result": ' + "[" * 200_000,
        "list": "[1, 2]",
        "unknown": '{"event": {"kind": "teleported"}}',
        "unasked": '{"event": {"kind": "finished", "result": {"model": "evil"}}}\n{"result": {"then": "the result"}}',
        "two": '{"result": {}, "refused": {}}',
        "wordless refusal": '{"refused": {}}',
        "flood": '{"event": {"kind": "note", "text": "x"}}\n' * 60_000,
    }[options["line"]]
    for descriptor in range(3, 20):
        try:
            with os.fdopen(descriptor, "w", closefd=False) as channel:
                channel.write(line + "\n")
        except OSError:
            continue
    time.sleep(600)  # an answer is judged at once, and not when the time is over
    return {}


def folders(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    yield from ()
    (out / "inner").mkdir()
    return {}


def delete(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Goes on writing where nobody sees it."""
    yield from ()
    with (out / "unseen").open("wb") as stream:
        (out / "unseen").unlink()
        stream.write(bytes(2**20))
    return {}


def set_aside(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Files that are empty to look at, and take the disk for what could be written into them."""
    yield from ()
    keep_size = 1
    for index in range(4):
        with (out / f"{index}").open("wb") as stream:
            if ctypes.CDLL(None).fallocate(stream.fileno(), keep_size, ctypes.c_long(0), ctypes.c_long(2**23)):
                stream.write(bytes(2**23))  # a file system that cannot
    return {}


def babble(file: Path, out: Path, options: Options) -> Steps[dict[str, Any]]:
    """Fills the log."""
    yield from ()
    for _ in range(200):
        sys.stderr.write("x" * 2**16)
    return {"done": True}


def _beside(file: Path) -> list[str]:
    """Raises where nothing does, as far as this process can see."""
    if found := [name for name in os.listdir(file.parent) if name != file.name]:
        return found
    raise FileNotFoundError(errno.ENOENT, "nothing")


def _write(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


def _error(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    except ValueError as error:
        return str(error)
    return "succeeded"
