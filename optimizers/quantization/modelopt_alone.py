"""ModelOpt without a trace: it prints, logs, and changes ONNX Runtime's quantizer in place. Imports onnxruntime."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from onnxruntime.quantization import calibrate
from onnxruntime.quantization.base_quantizer import BaseQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

_PATCHED = (
    calibrate.CalibraterBase,
    calibrate.MinMaxCalibrater,
    calibrate.HistogramCalibrater,
    calibrate.HistogramCollector,
    BaseQuantizer,
    QDQQuantizer,
    calibrate,
)
"""Classes, and the module itself, some of whose attributes ModelOpt replaces."""


@contextmanager
def alone() -> Iterator[None]:
    """Inside, ModelOpt says nothing; afterwards ONNX Runtime's quantizer is what it was."""
    level = logging.root.manager.disable
    registries = [(each, dict(each)) for each in (QDQRegistry, QLinearOpsRegistry)]
    attributes = [(each, dict(vars(each))) for each in _PATCHED]
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)
        for registry, before in registries:
            registry.clear()
            registry.update(before)
        for owner, before in attributes:
            for name, value in dict(vars(owner)).items():
                if value is not before.get(name, value):
                    setattr(owner, name, before[name])
