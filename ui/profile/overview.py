"""What stands out: time, memory and parameters at a glance."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
