"""How images go into a `.tflite` file, and logits come out. Imports LiteRT inside functions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from core.data import Floats, Inputs
from core.errors import BadInput
from core.unsupported import naming_the_operator

Kernels = Literal["xnnpack", "own", "reference"]
"""What computes: XNNPACK where it can, LiteRT's own kernels, or those that are written to be read."""
RESOLVERS: dict[Kernels, str] = {
    "xnnpack": "BUILTIN",
    "own": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
_OPEN = -1
"""Of a batch that may have any size."""
_TRIED = 2
"""Images that a file is offered to see whether it takes more than it was made for."""
_CHANNELS_LAST = (0, 2, 3, 1)
_IMAGE_AXES = 4


def interpreter_of(file: Path | bytes, kernels: Kernels, threads: int = 1, **options: bool) -> Any:
    """LiteRT's interpreter of a file or its content, not allocated yet.

    Raises `RunFailed` with the name of an operator that LiteRT lacks.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    given: dict[str, Any] = {"model_content": file} if isinstance(file, bytes) else {"model_path": str(file)}
    resolver = OpResolverType[RESOLVERS[kernels]]
    with operators_named(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that keeping all tensors takes memory
        return Interpreter(**given, num_threads=threads, experimental_op_resolver_type=resolver, **options)


def operators_named() -> Any:
    """A context manager that turns LiteRT's errors about an operator into a `RunFailed` with its name."""
    return naming_the_operator("LiteRT", (RuntimeError, ValueError), action="Choose another runtime")


@dataclass(frozen=True)
class End:
    """The input or the output of a file."""

    index: int
    shape: tuple[int, ...]
    """With -1 for a side that is open."""
    dtype: Any
    """A type of numpy's."""
    scale: float
    """What a step of 1 stands for, where the numbers are integers; 0 where none is given."""
    zero_point: int

    @property
    def is_quantized(self) -> bool:
        """Whether its numbers are integers."""
        return bool(np.issubdtype(self.dtype, np.integer))

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest of its integers."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def quantized(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """x in its numbers; where they are integers, rounded to the nearest and held within the limits."""
        if not self.is_quantized:
            return x.astype(self.dtype, copy=False)
        rounded = np.rint(x / np.float32(self.scale or 1)) + self.zero_point
        whole: npt.NDArray[Any] = np.clip(rounded, *self.limits).astype(self.dtype)
        return whole

    def dequantized(self, y: npt.NDArray[Any]) -> Floats:
        """float32 of its numbers."""
        floats = y.astype(np.float32)
        return (floats - np.float32(self.zero_point)) * np.float32(self.scale or 1) if self.is_quantized else floats


@dataclass(frozen=True)
class Ends:
    """Both."""

    given: End
    answer: End
    fixed_batch: int
    """Images that it takes at once, no more and no fewer; 0 where it takes any number."""

    @classmethod
    def of(cls, file: Path | bytes) -> Ends:
        """Those of a file; whether it takes two images is tried, and computed only where sizes show in no other way."""
        interpreter = interpreter_of(file, "own")
        given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        made_for = int(given["shape"][0])
        return cls(end_of(given), end_of(answer), 0 if _takes(_TRIED, interpreter) else made_for)

    def arranged(self, x: Inputs) -> npt.NDArray[Any]:
        """x[N, C, H, W] as the file wants it: with its channels where it has them, in its numbers.

        Where both orders fit it stays as it is. Raises `BadInput` where neither does.
        """
        for turned in (x, x.transpose(_CHANNELS_LAST)) if x.ndim == _IMAGE_AXES else (x,):
            if _fits(turned.shape, self.given.shape):
                return np.ascontiguousarray(self.given.quantized(turned))
        raise BadInput(
            f"images of the shape {list(x.shape)} for a model that takes {list(self.given.shape)}",
            expected="that shape, with the channels before or behind the sides",
        )


def end_of(details: dict[str, Any]) -> End:
    """From what LiteRT says of a tensor."""
    scale, zero_point = details["quantization"]
    signature = details["shape_signature"]
    shape = signature if len(signature) else details["shape"]
    return End(details["index"], tuple(map(int, shape)), details["dtype"], float(scale), int(zero_point))


def _takes(batch: int, interpreter: Any) -> bool:
    """Whether so many images pass, with as many rows as answer. Where they do not, the interpreter is spoilt."""
    given = interpreter.get_input_details()[0]
    try:
        interpreter.resize_tensor_input(given["index"], (batch, *given["shape"][1:]))
        interpreter.allocate_tensors()
        if _answers(interpreter) != batch and given["shape_signature"][0] == _OPEN:  # sizes that the file computes
            interpreter.set_tensor(given["index"], np.zeros((batch, *given["shape"][1:]), given["dtype"]))
            interpreter.invoke()
    except (RuntimeError, ValueError):
        return False
    return _answers(interpreter) == batch


def _answers(interpreter: Any) -> int:
    """Rows that come out."""
    return int((*interpreter.get_output_details()[0]["shape"], 0)[0])


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whatever the batch."""
    sides = zip(wanted[1:], shape[1:], strict=False)
    return len(shape) == len(wanted) and all(side in (size, -1) for side, size in sides)
