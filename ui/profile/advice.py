"""What to do about it, each with the settings filled in."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
