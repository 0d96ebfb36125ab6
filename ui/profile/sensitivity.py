"""What each layer loses when it alone is changed, and what that is worth."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
