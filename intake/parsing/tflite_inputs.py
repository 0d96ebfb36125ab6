"""Whether each operator of a `.tflite` file has the inputs that it needs, and what those that hold places may hold.

LiteRT reads beyond a tensor where such numbers are too large, and not all of its kernels look. So they have to lie in
the file; how large something becomes may also be counted from the shape of a tensor, never from an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from intake.parsing.tflite_parts import (
    LARGEST_SETTING,
    NONE,
    Whole,
    is_constant,
    listed,
    operator_name,
    shape_of,
    type_of,
    whole_numbers,
)
from intake.parsing.tflite_scan import MOST_AXES, refused

BINARY = (
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD", "EQUAL"),
    *("NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "PRELU"),
    "BATCH_MATMUL",
)
REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
WITH_WEIGHTS: Mapping[str, int] = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0, "DEPTHWISE_CONV_2D": 3}
"""Which axis of their weights (input 1) has a place for each output channel."""
PLACES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys((*REDUCTIONS, "PAD", "PADV2", "MIRROR_PAD", "TRANSPOSE", "EXPAND_DIMS", "GATHER"), (1,)),
    **dict.fromkeys(("ARG_MAX", "REVERSE_V2", "CUMSUM", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), (1,)),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SPLIT_V"), (1, 2)),
    "STRIDED_SLICE": (1, 3), "SLICE": (1,), "SPLIT": (0,), "RANGE": (0, 1, 2),
}  # fmt: skip
"""Which inputs say where something lies: they have to be constants."""
SIZES: Mapping[str, tuple[int, ...]] = {
    "RESHAPE": (1,), "FILL": (0,), "BROADCAST_TO": (1,), "TILE": (1,), "TRANSPOSE_CONV": (0,),
    "SLICE": (2,), "STRIDED_SLICE": (2,),
}  # fmt: skip
"""Which inputs say how large something becomes: constants, or counted from the shape of a tensor."""
_COUNTING = (
    *("STRIDED_SLICE", "SLICE", "PACK", "UNPACK", "CONCATENATION", "GATHER", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    *("CAST", "MUL", "REDUCE_PROD", "FILL", "BROADCAST_TO"),
)
"""Operators that choose and multiply: what they count becomes no smaller, or never larger, with more images."""
_COUNTS = ("INT32", "INT64")
_MANY = 1 << 16
_INPUTS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys((*BINARY, *REDUCTIONS), (2, 2)),
    **dict.fromkeys(("PAD", "MIRROR_PAD", "TILE", "TRANSPOSE", "EXPAND_DIMS", "GATHER"), (2, 2)),
    **dict.fromkeys(("REVERSE_V2", "BROADCAST_TO", "ARG_MAX"), (2, 2)),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "FILL", "CUMSUM", "SPLIT"), (2, 2)),
    **dict.fromkeys(("SELECT", "SELECT_V2", "SLICE", "SPLIT_V", "PADV2"), (3, 3)),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), (3, 3)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (2, 3)),
    **dict.fromkeys(("ADD_N", "CONCATENATION", "PACK"), (1, _MANY)),
    "RANGE": (3, 3), "STRIDED_SLICE": (4, 4), "TRANSPOSE_CONV": (3, 4), "RESHAPE": (1, 2),
}  # fmt: skip
_SPLITS = ("SPLIT", "SPLIT_V", "UNPACK")


@dataclass(frozen=True)
class _Use:
    """One operator, with what it takes and gives."""

    model: Any
    operator: Any
    title: str

    @property
    def inputs(self) -> list[int]:
        return listed(self.operator.inputs)

    def shape(self, which: int) -> tuple[int, ...]:
        return shape_of(self.model.subgraphs[0].tensors[self.inputs[which]])

    def numbers(self, which: int) -> Whole | None:
        """The constant at an input; None for anything else."""
        return whole_numbers(self.model, self.model.subgraphs[0].tensors[self.inputs[which]])

    def setting(self, name: str, usual: int = 0) -> int:
        return int(getattr(self.operator.builtinOptions, name, usual))

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            raise refused(f"{self.title} {what}")


def check_count(model: Any, operator: Any, title: str) -> None:
    """As many inputs and outputs as its kind has, only a bias left out. Raises `Refused`."""
    name, inputs, outputs = operator_name(model, operator), listed(operator.inputs), listed(operator.outputs)
    fewest, most = _INPUTS.get(name, (1, 1))
    if not fewest <= len(inputs) <= most:
        raise refused(f"{title} has {len(inputs)} inputs, not {fewest}{f' to {most}' if most > fewest else ''}")
    bias = most - 1 if name in WITH_WEIGHTS else NONE
    if any(place == NONE and which != bias for which, place in enumerate(inputs)):
        raise refused(f"{title} lacks an input")
    if len(outputs) != 1 and not (outputs and name in _SPLITS):
        raise refused(f"{title} has {len(outputs)} outputs, not 1")


def counted(model: Any, operator: Any, known: set[int]) -> bool:
    """Whether its whole numbers come from constants and shapes alone; `known` are the tensors that do."""
    name, tensors = operator_name(model, operator), model.subgraphs[0].tensors
    if any(type_of(tensors[place]) not in _COUNTS for place in listed(operator.outputs)):
        return False
    return name == "SHAPE" or (name in _COUNTING and all(place in known for place in listed(operator.inputs)))


def check_places(model: Any, operator: Any, title: str, known: set[int]) -> None:
    """What says where something lies or how large it becomes is known without an image, and in range. `Refused` else.

    `known` are the tensors that come from constants and shapes alone.
    """
    name, use = operator_name(model, operator), _Use(model, operator, title)
    for which in PLACES.get(name, ()):
        use.require(use.numbers(which) is not None, "picks what only an image decides")
    for which in SIZES.get(name, ()):
        if which < len(use.inputs):
            whole = type_of(model.subgraphs[0].tensors[use.inputs[which]]) in _COUNTS
            use.require(use.inputs[which] in known and whole, "makes something as large as only an image decides")
    if name in _CHECKS:
        _CHECKS[name](use)


def _require_axes(use: _Use, values: Any, axes: int) -> None:
    bad = [int(value) for value in np.atleast_1d(values) if not -axes <= value < axes]
    use.require(not bad, f"names axis {bad[0] if bad else 0:,} of {axes}")


def _axes(use: _Use) -> None:
    _require_axes(use, use.numbers(1), len(use.shape(0)))


def _new_axis(use: _Use) -> None:
    _require_axes(use, use.numbers(1), len(use.shape(0)) + 1)


def _own_axis(use: _Use) -> None:
    _require_axes(use, use.setting("axis"), len(use.shape(0)))


def _pack(use: _Use) -> None:
    _require_axes(use, use.setting("axis"), len(use.shape(0)) + 1)
    use.require(use.setting("valuesCount") == len(use.inputs), "has another number of inputs than it says")


def _squeeze(use: _Use) -> None:
    named = listed(getattr(use.operator.builtinOptions, "squeezeDims", None))
    _require_axes(use, named, len(use.shape(0)))
    use.require(len(named) <= MOST_AXES, "names too many axes")


def _transpose(use: _Use) -> None:
    axes = len(use.shape(0))
    order = use.numbers(1)
    _require_axes(use, order, axes)
    use.require(sorted(int(each) % axes for each in _all(order)) == list(range(axes)), "leaves out an axis")


def _gather(use: _Use) -> None:
    shape, axis, batch = use.shape(0), use.setting("axis"), use.setting("batchDims")
    use.require(-len(shape) <= axis < len(shape), "picks what only an image decides")
    use.require(0 <= batch <= min(axis % len(shape), len(use.shape(1))), "counts its batches in a way of its own")
    size, found = shape[axis], _all(use.numbers(1))
    beyond = found[(found < 0) | (found >= size)]
    use.require(not len(beyond), f"picks number {int(beyond[0]) if len(beyond) else 0:,} of {size:,}")


def _pad(use: _Use) -> None:
    """Nothing is cut off; a mirror shows no more than there is."""
    shape, by = use.shape(0), use.numbers(1)
    use.require(use.shape(1) == (len(shape), 2) and bool((_all(by) >= 0).all()), "pads by less than nothing")
    if operator_name(use.model, use.operator) == "MIRROR_PAD":
        most = np.array(shape) - (1 if use.setting("mode") == 0 else 0)
        use.require(bool((_all(by).reshape(-1, 2) <= most[:, None]).all()), "mirrors more than there is")


def _blocks(use: _Use) -> None:
    block, by = _all(use.numbers(1)), _all(use.numbers(2))
    use.require(1 <= len(block) < len(use.shape(0)) and use.shape(2) == (len(block), 2), "has blocks of other axes")
    use.require(bool(((block >= 1) & (block <= LARGEST_SETTING)).all()), "has blocks of no size")
    use.require(bool(((by >= 0) & (by <= LARGEST_SETTING)).all()), "pads by less than nothing")


def _split(use: _Use) -> None:
    parts, shape = len(use.operator.outputs), use.shape(1)
    _require_axes(use, use.numbers(0), len(shape))
    whole = shape[int(_all(use.numbers(0))[0])]
    use.require(use.setting("numSplits") == parts, f"has {parts} outputs and says {use.setting('numSplits'):,}")
    use.require(whole % parts == 0, f"splits {whole:,} into {parts}")


def _split_by_sizes(use: _Use) -> None:
    parts, shape, sizes = len(use.operator.outputs), use.shape(0), _all(use.numbers(1))
    _require_axes(use, use.numbers(2), len(shape))
    whole = shape[int(_all(use.numbers(2))[0])]
    use.require(use.setting("numSplits") == parts == len(sizes), f"has {parts} outputs and says another number")
    rest = int((sizes == NONE).sum())
    total = int(sizes[sizes != NONE].sum())
    use.require(bool((sizes >= NONE).all()) and rest <= 1, "splits off less than nothing")
    use.require(total <= whole if rest else total == whole, f"splits {whole:,} into {total:,}")


def _unpack(use: _Use) -> None:
    _own_axis(use)
    parts, whole = len(use.operator.outputs), use.shape(0)[use.setting("axis")]
    use.require(use.setting("num") == parts == whole, f"has {parts} outputs for {whole:,} parts")


def _slice(use: _Use) -> None:
    shape, begin, sizes = np.array(use.shape(0)), _all(use.numbers(1)), use.numbers(2)
    use.require(begin.size == len(shape) and bool(((begin >= 0) & (begin <= shape)).all()), "begins beyond its input")
    if sizes is not None:
        whole = sizes.size == len(shape) and bool((sizes.reshape(-1) >= NONE).all())
        use.require(whole and bool((begin + sizes.reshape(-1) <= shape).all()), "ends beyond its input")


def _strided_slice(use: _Use) -> None:
    """Every axis begins within it; what is to vanish as an axis has a place there."""
    shape, begin, steps = use.shape(0), _all(use.numbers(1)), _all(use.numbers(3))
    count = begin.size
    use.require(steps.size == count == int(np.prod(use.shape(2))) <= MOST_AXES, "slices another number of axes")
    within = bool(((steps != 0) & (abs(steps) <= LARGEST_SETTING)).all())
    use.require(within and not use.setting("offset"), "slices in steps of its own")
    use.require(use.numbers(2) is not None or bool((steps > 0).all()), "slices backwards to what only an image decides")
    gaps, new, gone = (use.setting(f"{each}Mask") for each in ("ellipsis", "newAxis", "shrinkAxis"))
    use.require(gaps.bit_count() <= 1 and len(shape) + (new & ((1 << count) - 1)).bit_count() <= MOST_AXES,
                "slices more axes than there are")  # fmt: skip
    axis = 0
    for which in range(count):
        bit = 1 << which
        if gaps & bit:
            axis = len(shape) - sum(not (new >> later) & 1 for later in range(which + 1, count))
        elif not new & bit:
            use.require(0 <= axis < len(shape), "slices more axes than there are")
            size, first = shape[axis], int(begin[which])
            use.require(-size <= first < size + (not gone & bit), f"begins at {first:,} of {size:,}")
            use.require(not gone & bit or steps[which] == 1, "slices in steps of its own")
            axis += 1


def _resize(use: _Use) -> None:
    size = _all(use.numbers(1))
    use.require(size.size == 2 and bool(((size >= 1) & (size <= LARGEST_SETTING)).all()), "makes images of no size")


def _tile(use: _Use) -> None:
    times = use.numbers(1)
    use.require(times is None or (times.size == len(use.shape(0)) and bool((times >= 1).all())), "repeats nothing")


def _transpose_conv(use: _Use) -> None:
    """Of what it makes only the batch may be counted."""
    _weights(use, x=2, bias=3)
    if use.numbers(0) is not None:
        return
    makers = [each for each in use.model.subgraphs[0].operators if use.inputs[0] in listed(each.outputs)]
    sizes = listed(makers[0].inputs)[1:] if operator_name(use.model, makers[0]) == "PACK" else []
    tensors = use.model.subgraphs[0].tensors
    fixed = len(sizes) == 3 and all(is_constant(use.model, tensors[place]) for place in sizes)
    use.require(fixed, "makes something as large as only an image decides")


def _depthwise(use: _Use) -> None:
    _weights(use)
    x, w = use.shape(0), use.shape(1)
    use.require(len(x) == len(w) == 4 and w[3] == x[3] * use.setting("depthMultiplier"), "has weights of another layer")


def _weights(use: _Use, x: int = 0, bias: int = 2) -> None:
    """Weights as the layer has them, and a bias for each output channel."""
    name, shape = operator_name(use.model, use.operator), use.shape(1)
    axes = 2 if name == "FULLY_CONNECTED" else 4
    use.require(len(shape) == axes and (axes == 2 or len(use.shape(x)) == axes), "has weights of another layer")
    use.require(use.setting("weightsFormat") == 0, "has weights in an order of its own")
    if bias < len(use.inputs) and use.inputs[bias] != NONE:
        use.require(np.prod(use.shape(bias)) == max(use.shape(bias), default=1) == shape[WITH_WEIGHTS[name]],
                    f"has a bias {use.shape(bias)} for {shape[WITH_WEIGHTS[name]]:,} channels")  # fmt: skip


def _all(values: Whole | None) -> Whole:
    return np.zeros(0, np.int64) if values is None else np.atleast_1d(values).reshape(-1)


_CHECKS: Mapping[str, Callable[[_Use], None]] = {
    **dict.fromkeys((*REDUCTIONS, "REVERSE_V2", "CUMSUM", "ARG_MAX"), _axes),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), _blocks),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
    **dict.fromkeys(("CONV_2D", "FULLY_CONNECTED"), _weights),
    "DEPTHWISE_CONV_2D": _depthwise, "TRANSPOSE_CONV": _transpose_conv, "EXPAND_DIMS": _new_axis, "PACK": _pack,
    "CONCATENATION": _own_axis, "SQUEEZE": _squeeze, "TRANSPOSE": _transpose, "GATHER": _gather, "SPLIT": _split,
    "SPLIT_V": _split_by_sizes, "UNPACK": _unpack, "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "TILE": _tile,
}  # fmt: skip
