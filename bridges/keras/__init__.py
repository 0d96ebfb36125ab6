"""What is done with TensorFlow: reading, converting, training and quantizing networks of Keras.

Tasks for `bridges.asking` run in TensorFlow's own environment. Importing any of this needs no TensorFlow.
"""

from __future__ import annotations

import sys

from bridges.keras.granted import keep_within_grant


def prepare() -> None:
    """Before the first task: let TensorFlow take no more of the GPU's memory than was granted."""
    keep_within_grant()


def begin_anew() -> None:
    """Before each task: neither names nor memory of the task before are left, so that it gives what a first one would.

    What was not imported yet, which takes seconds, has nothing to forget.
    """
    for name in ("tf_keras", "keras"):
        if library := sys.modules.get(name):
            library.backend.clear_session()
