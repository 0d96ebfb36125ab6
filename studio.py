#!/usr/bin/env python3
"""Post-Training Studio's front door. Needs Python 3.11 to 3.14 and nothing else.

python3 studio.py run [--port N]             install what is missing, then start the dashboard
python3 studio.py test [PYTEST ARGUMENTS]    install what is missing, then lint, types and every test
python3 studio.py optimize RECIPE.yaml       carry out a recipe and print the comparison
python3 studio.py resume RUN                 go on with a run that ended before its result
python3 studio.py report MODEL OUT.html      write the comparison of a model's variants as one file
python3 studio.py package RUN OUT.zip        write a finished run as one zip (--server, --triton)
python3 studio.py truth MODEL                print every variant in every runtime, beside its source
python3 studio.py record RUN OUT.json.gz     keep an ended run as one file, to be watched again anywhere
python3 studio.py bring [MODELS.yaml]        add models and data of your own (or: bring --help)
python3 studio.py models | runs | recordings list the models, the runs so far, or recorded ones
python3 studio.py install tensorrt           add an optional part (or: tensorrt-rtx, tensorflow, litert-torch, ...)
"""

import sys

# Old Pythons must still be able to parse this file, so that they can print this sentence.
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit(
        "Post-Training Studio needs Python 3.11, 3.12, 3.13 or 3.14, and this is %d.%d; start it with one of those, "
        "for example: python3.12 studio.py run" % sys.version_info[:2]
    )

import argparse
import hashlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MAIN_ENVIRONMENT = ROOT / ".venv"
EXTRAS = {
    "login": (MAIN_ENVIRONMENT, "requirements-login.txt"),
    "text": (MAIN_ENVIRONMENT, "requirements-text.txt"),
    "tensorrt": (MAIN_ENVIRONMENT, "requirements-tensorrt.txt"),
    "tensorrt-rtx": (MAIN_ENVIRONMENT, "requirements-tensorrt-rtx.txt"),
    "tensorflow": (ROOT / ".venv-tf", "requirements-tensorflow.txt"),
    "litert-torch": (ROOT / ".venv-litert-torch", "requirements-litert-torch.txt"),
}
COMMANDS = ("optimize", "resume", "report", "package", "truth", "record", "bring", "recordings", "models", "runs")
"""Of `cli.py`."""
CHECKS = (
    ("lint", ["-m", "ruff", "check", "."]),
    ("format", ["-m", "ruff", "format", "--check", "."]),
    ("types", ["-m", "mypy"]),
)
START_TIMEOUT_SECONDS = 120
TALKATIVE = "STUDIO_PIP_TALKS"
"""Environment variable: pip says what it does also where it writes into a file."""


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "run":
        return run(rest)
    if command == "test":
        return test(rest)
    if command == "install" and len(rest) == 1 and rest[0] in EXTRAS:
        environment, requirements = EXTRAS[rest[0]]
        install(environment, requirements)
        print(f"{rest[0]} is installed." + " Restart the dashboard to use it." * (environment == MAIN_ENVIRONMENT))
        return 0
    if command in COMMANDS:
        python = install(MAIN_ENVIRONMENT, "requirements.txt")
        return call(python, [str(ROOT / "cli.py"), *arguments], here=True)
    print(__doc__)
    return 0 if command in ("", "help", "-h", "--help") else 2


def install(environment: Path, *requirements: str) -> Path:
    """Make the environment and install into it, unless the very same was done before; its Python."""
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = environment / f"installed-{requirements[-1]}"
    wanted = fingerprint(*requirements)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    if not python.exists() or subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        print(f"Making the environment {environment.name} ...", flush=True)
        venv.create(environment, clear=True, with_pip=True)
    print(
        f"Installing {' and '.join(requirements)} into {environment.name}; the first time takes minutes ...", flush=True
    )
    stamp.unlink(missing_ok=True)  # what is interrupted from here on is not installed
    began = time.monotonic()
    if pip_install(python, requirements):
        sys.exit("Installing failed; the lines above say why. Nothing else was changed: run the same command again.")
    stamp.write_text(wanted)
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    return python


def pip_install(python: Path, requirements: tuple[str, ...]) -> int:
    """Install with the tested versions, or, where these do not exist for this platform, with the newest that fit.

    The tested versions are those of the main environment; extras in one of their own pin what they need themselves.
    """
    quiet = [] if sys.stdout.isatty() or os.environ.get(TALKATIVE) else ["--quiet"]
    command = ["-m", "pip", "install", "--disable-pip-version-check", *quiet]
    for name in requirements:
        command += ["--requirement", name]
    if MAIN_ENVIRONMENT not in python.parents:
        return call(python, command)
    if not call(python, [*command, "--constraint", "constraints.txt"]):
        return 0
    print("The tested versions did not install here; trying the newest ones that fit ...", flush=True)
    return call(python, command)


def fingerprint(*requirements: str) -> str:
    """Changes when a requirements file, the constraints or the Python version does."""
    content = b"".join((ROOT / name).read_bytes() for name in (*requirements, "constraints.txt"))
    return hashlib.sha256(content + sys.version.encode()).hexdigest()


def call(python: Path, arguments: list[str], *, here: bool = False) -> int:
    """Run the environment's Python in the project's folder, or in the person's own; its exit code."""
    try:
        return subprocess.run([str(python), *arguments], cwd=None if here else ROOT).returncode
    except KeyboardInterrupt:
        return 130


def test(arguments: list[str]) -> int:
    """Lint, format, types, then pytest; 0 only when all are clean."""
    python = install(MAIN_ENVIRONMENT, "requirements.txt", "requirements-dev.txt")
    failed = []
    # Two at a time, those of a file together; with arguments of one's own, as pytest is told. In the order of their
    # names: files of few but long tests would come last otherwise, and end with one process idle.
    everything = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    for name, check in (*CHECKS, ("tests", ["-m", "pytest", *(arguments or everything)])):
        print(f"== {name}", flush=True)
        if call(python, check):
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def run(arguments: list[str]) -> int:
    """Start the dashboard on the loopback address and print where it is; ends with it."""
    parser = argparse.ArgumentParser(prog="studio.py run", description="Start the dashboard.")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1 (default: 8501, or the next free one)")
    port = parser.parse_args(arguments).port or free_port(8501)
    python = install(MAIN_ENVIRONMENT, "requirements.txt")
    server = subprocess.Popen(
        [str(python), "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        if not answers(server, port):
            return server.poll() or 1
        print(f"Post-Training Studio is at http://127.0.0.1:{port}   (Ctrl-C stops it; runs go on)", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        return 0 if server.wait() in (0, -signal.SIGTERM, -signal.SIGINT) else 1


def answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait for the server's first answer; False when it ended or took too long."""
    give_up = time.monotonic() + START_TIMEOUT_SECONDS
    while server.poll() is None and time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    if server.poll() is None:
        print(f"The dashboard did not answer within {START_TIMEOUT_SECONDS} s.", file=sys.stderr)
        server.kill()
    return False


def free_port(first: int) -> int:
    """The first port from `first` on that nothing on the loopback address listens at."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    sys.exit(f"Ports {first} to {first + 99} are all in use; name another with --port")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
