"""An opened `.tflite` file that answers. Imports LiteRT inside functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data import Floats, Inputs
from core.errors import BadInput
from core.tflite_ends import Ends, Kernels, interpreter_of, operators_named
from core.tflite_greeting import greet_once


class TfliteSession:
    """One interpreter, whose input takes whatever batch comes where the file allows it.

    Where it does not, it says `largest_batch`, and `run` takes any number all the same, so many at once. Raises
    `RunFailed` with the name of an operator that LiteRT lacks.
    """

    largest_batch: int

    def __init__(self, file: Path | bytes, kernels: Kernels, threads: int) -> None:
        self._ends = Ends.of(file)
        if self._ends.fixed_batch:
            self.largest_batch = self._ends.fixed_batch
        if kernels == "xnnpack":
            greet_once()
        self._interpreter = interpreter_of(file, kernels, threads)
        self._allocate()
        self._bound: object = None
        """What lies in the interpreter, where that was bound."""

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        return self.output(x).reshape(len(x), -1)

    def output(self, x: Inputs) -> Floats:
        """float32 of what comes out for x[N, C, H, W], in the shape that the file gives it."""
        at_once = self._ends.fixed_batch or len(x)
        parts = [self._answer(x[start : start + at_once], at_once) for start in range(0, len(x), at_once)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x, which lies in the interpreter already; returns once it has finished.

        Raises `BadInput` for another number of images than a file takes that was made for one number only.
        """
        fixed = self._ends.fixed_batch
        if fixed and len(x) != fixed:
            raise BadInput(
                f"{len(x)} images at once for a .tflite file that takes {fixed}",
                expected=f"a batch of {fixed}, which it was made for",
                action="Choose that as the batch size",
            )
        interpreter, given = self._interpreter, self._ends.arranged(x)
        self._place(given)
        self._bound = given

        def infer() -> None:
            if self._bound is not given:  # something else was asked in between
                self._place(given)
                self._bound = given
            interpreter.invoke()

        return infer

    def _answer(self, x: Inputs, at_once: int) -> Floats:
        """Of at most so many images, filled up with zeros to that number."""
        missing = at_once - len(x)
        self._place(self._ends.arranged(np.pad(x, [(0, missing), *[(0, 0)] * (x.ndim - 1)]) if missing else x))
        self._bound = None
        self._interpreter.invoke()
        answer = self._ends.answer
        whole = answer.dequantized(self._interpreter.get_tensor(answer.index))
        return whole[: len(x)] if missing else whole

    def _place(self, given: npt.NDArray[Any]) -> None:
        index = self._ends.given.index
        if given.shape != self._shape:
            self._interpreter.resize_tensor_input(index, given.shape)
            self._allocate()
        self._interpreter.set_tensor(index, given)

    def _allocate(self) -> None:
        with operators_named():
            self._interpreter.allocate_tensors()
        self._shape = tuple(map(int, self._interpreter.get_input_details()[0]["shape"]))

    def __enter__(self) -> TfliteSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._interpreter
