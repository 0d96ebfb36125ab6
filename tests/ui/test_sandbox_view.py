"""What the System page says of the sandbox in each state."""

from __future__ import annotations

import pytest

from intake.limits import LIMITS
from intake.sandbox import SelfTest
from intake.sandbox.attempts import Attempt
from ui.sandbox_view import checks, limits, state

HELD = Attempt(what="Read a file of yours", held=True, detail="Permission denied")
LEAKS = Attempt(what="Connect over TCP", held=False, detail="It arrived")


def test_each_state_is_said_in_a_line() -> None:
    on = state(SelfTest("Landlock + seccomp", (HELD,), 0.214, None, True))
    assert on.startswith(":green-badge[On]")
    assert "Landlock + seccomp" in on.replace("\\", "")
    assert "0.21 s" in on
    off = state(SelfTest("", (), 0.1, "Nothing confines it. Install bubblewrap (apt install bubblewrap).", False))
    assert off.startswith(":gray-badge[Off]")
    assert "apt install bubblewrap" in off.replace("\\", "")
    assert state(SelfTest("resource limits", (LEAKS,), 0.1, None, False)).startswith(":red-badge[Not confined]")


def test_what_was_possible_stands_out() -> None:
    table = checks(SelfTest("", (HELD, LEAKS), 0.1, None, False)).set_index("What it tried")["Outcome"]
    assert "refused" in table["Read a file of yours"]
    assert "red" in table["Connect over TCP"]


def test_limits_are_those_that_are_held_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_QUOTA_GB", "3")
    shown = limits().set_index("Limit")["Value"]
    assert shown["All that one person keeps"].startswith("3.00 GiB")
    assert f"{LIMITS.images:,}" in shown["A data set"]


def test_a_model_that_tensorflow_reads_has_its_own_time() -> None:
    times = limits().set_index("Limit")["Value"]["Time to read it"]
    assert f"{LIMITS.model_seconds:.0f} s for a model" in times
    assert f"{LIMITS.keras_seconds / 60:.0f} min for one that TensorFlow reads" in times
    assert times.endswith(f"{LIMITS.parse_seconds / 60:.0f} min for data")
