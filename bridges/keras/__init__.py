"""What is done with TensorFlow: reading, converting, training and quantizing networks of Keras.

Tasks for `bridges.asking` run in TensorFlow's own environment. Importing any of this needs no TensorFlow.
"""

from __future__ import annotations

from bridges.keras.granted import keep_within_grant


def prepare() -> None:
    """Before the first task: let TensorFlow take no more of the GPU's memory than was granted."""
    keep_within_grant()
