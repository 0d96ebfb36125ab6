"""What bounds each layer: arithmetic, memory or overhead."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
