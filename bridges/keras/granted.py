"""How much of a GPU TensorFlow may take."""

from __future__ import annotations

import os

from core.errors import BadInput

GPU_VARIABLE = "STUDIO_TENSORFLOW_GPU_MIB"
"""MiB of the GPU's memory that TensorFlow may take; unset, it computes on the CPU."""


def keep_within_grant() -> None:
    """Let TensorFlow take no more of each GPU than was granted; to be called before it first computes.

    Source: https://www.tensorflow.org/guide/gpu#limiting_gpu_memory_growth. Raises `BadInput` for a grant that is no
    number.
    """
    granted = os.environ.get(GPU_VARIABLE, "")
    if not granted:
        return
    if not granted.isdigit() or not int(granted):
        raise BadInput(
            f"{GPU_VARIABLE} is set to {granted}", expected="a number of MiB, such as 4096", action="Set it anew"
        )
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(granted))
        tf.config.set_logical_device_configuration(gpu, [limit])
