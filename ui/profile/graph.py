"""The operators of the ONNX form, coloured by time or precision."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
