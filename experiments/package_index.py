"""What the package index that pip is configured for offers; asked only when called.

pip itself asks, as `pip index versions NAME` does: it knows the person's index, proxy and certificates, and leaves out
yanked and preliminary releases and those for another Python or platform.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

AT_ONCE = 4
"""How many libraries are asked for at a time."""
_SECONDS = 5
"""Waited for a connection, twice at most."""
_LIMIT_SECONDS = 40
_VERSIONS = re.compile(r"^Available versions: (.+)$", re.MULTILINE)
_NOT_FETCHED = re.compile(r"Could not fetch URL (?!.*404 Client Error)")


@dataclass(frozen=True)
class Offer:
    """What the index said about one library."""

    versions: tuple[Version, ...] = ()
    """Released ones for this Python and platform, newest first; empty where there are none."""
    problem: str = ""
    """One sentence where it did not answer."""


def ask_for(names: Sequence[str]) -> Iterator[tuple[str, Offer]]:
    """Each library's offer as it comes in, a few asked for at a time.

    Ends early when none of the first ones was answered: then the others would not be either.
    """
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        asked = {pool.submit(ask, name): name for name in names}
        unanswered, answered = 0, 0
        for done in as_completed(asked):
            offer = done.result()
            unanswered, answered = unanswered + bool(offer.problem), answered + (not offer.problem)
            yield asked[done], offer
            if unanswered >= AT_ONCE and not answered:
                return
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def ask(name: str) -> Offer:
    """What the index offers of one library. Takes up to 40 s where it does not answer."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "pip.log"
        command = [sys.executable, "-m", "pip", "index", "versions", name, "--log", str(log), "--no-input"]
        limits = ["--disable-pip-version-check", "--retries", "1", "--timeout", str(_SECONDS)]
        try:
            done = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return Offer(problem=f"The package index did not answer within {_LIMIT_SECONDS} seconds.")
        except OSError as error:
            return Offer(problem=f"pip could not be started: {error}.")
        return read_offer(done.stdout, log.read_text(errors="replace") if log.exists() else "", done.stderr)


def read_offer(output: str, log: str, errors: str) -> Offer:
    """What pip's output and log say. Part of an answer, where one of several indexes is silent, counts as none."""
    if "No module named pip" in errors:
        return Offer(problem="This environment has no pip, which would ask the package index.")
    if _NOT_FETCHED.search(log):
        return Offer(problem="The package index did not answer.")
    if found := _VERSIONS.search(output):
        return Offer(tuple(sorted(_released(found[1].split(", ")), reverse=True)))
    if "No matching distribution found" in errors:
        return Offer()
    last = errors.strip().rpartition("\n")[2]
    return Offer(problem=f"pip did not say which versions there are: {last or 'it printed nothing'}.")


def _released(texts: Sequence[str]) -> Iterator[Version]:
    for text in texts:
        try:
            version = Version(text)
        except InvalidVersion:  # older than the rules for version numbers
            continue
        if not version.is_prerelease:
            yield version
