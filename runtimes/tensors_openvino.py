"""The intermediate tensors of an OpenVINO model, each as OpenVINO computes it.

Imports openvino: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.data import Floats, Inputs
from runtimes.openvino_file import arranged, read_model


def openvino_tensors(path: Path) -> tuple[str, ...]:
    """Names of what the operations of the model make, in order, constants left out."""
    return tuple(name for name, _ in _ports(read_model(path)))


def probe_openvino(path: Path, compile_model: Callable[[Any], Any], *, x: Inputs, name: str) -> Floats:
    """The tensor for x[N, C, H, W] as float32.

    `compile_model` compiles a model as for serving. The tensor is an output of the model beside the logits. Of a tensor
    that is rounded to integers it is the rounded values, as later operations read them.
    """
    model = read_model(path)
    port = _rounded(dict(_ports(model))[name])
    outputs = [result.input_value(0) for result in model.get_results()]
    place = outputs.index(port) if port in outputs else len(outputs)
    if place == len(outputs):
        model.add_outputs(port)
    compiled = compile_model(model)
    return np.asarray(compiled(arranged(x, compiled.input(0)))[place], np.float32)


def _ports(model: Any) -> Iterator[tuple[str, Any]]:
    for operation in model.get_ordered_ops():
        if operation.get_type_name() not in ("Constant", "Parameter", "Result"):
            for port in operation.outputs():
                yield from ((name, port) for name in sorted(port.get_names()))


def _rounded(port: Any) -> Any:
    readers = (reader.get_node() for reader in port.get_target_inputs())
    return next((each.output(0) for each in readers if each.get_type_name() == "FakeQuantize"), port)
