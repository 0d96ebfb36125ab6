"""Gives a `.tflite` file of integers float ends in OpenVINO. Imports openvino: import it inside functions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino.opset8 as operators

from core.tflite_ends import End, Ends

INTEGERS = (openvino.Type.i8, openvino.Type.u8, openvino.Type.i16)


def with_float_ends(model: Any, file: Path) -> Any:
    """The model of a `.tflite` file with float32 in the place of integers at its ends.

    Images are rounded to the nearest step and answers widened as LiteRT's session does it, with the scales in the file.
    """
    ends = Ends.of(file)
    if model.input(0).get_element_type() in INTEGERS:
        _widen_input(model, ends.given)
    if model.output(0).get_element_type() in INTEGERS:
        _widen_output(model, ends.answer)
    model.validate_nodes_and_infer_types()
    return model


def _widen_input(model: Any, end: End) -> None:
    old = model.get_parameters()[0]
    new = operators.parameter(old.get_partial_shape(), np.float32)
    new.output(0).set_names(old.output(0).get_names())
    scaled = operators.divide(new, _number(end.scale or 1))
    moved = operators.add(operators.round(scaled, "half_to_even"), _number(end.zero_point))
    whole = operators.convert(operators.clamp(moved, *map(float, end.limits)), old.get_element_type())
    for reader in old.output(0).get_target_inputs():
        reader.replace_source_output(whole.output(0))
    model.add_parameters([new])
    model.remove_parameter(old)


def _widen_output(model: Any, end: End) -> None:
    result = model.get_results()[0]
    moved = operators.subtract(operators.convert(result.input_value(0), "f32"), _number(end.zero_point))
    result.input(0).replace_source_output(operators.multiply(moved, _number(end.scale or 1)).output(0))


def _number(value: float) -> Any:
    return operators.constant(value, np.float32)
