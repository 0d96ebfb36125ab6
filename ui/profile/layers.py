"""Every layer as a table, with its CSV."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
