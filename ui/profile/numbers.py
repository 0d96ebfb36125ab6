"""Activation memory over the forward pass, and the values in each layer with a grid over them."""

from __future__ import annotations

from ui.profile.subject import Subject


def draw(subject: Subject) -> None:
    """The section."""
