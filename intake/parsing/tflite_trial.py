"""Runs a `.tflite` network in LiteRT on a few images: that it answers, as before, and images together as each alone.

Imports LiteRT inside its functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.data import Floats
from core.errors import Refused
from intake.parsing.tflite_ends import Ending, Entry
from intake.parsing.untrusted import shown

IMAGES = 3
LARGEST_DIFFERENCE, LARGEST_OF_INT8 = 1e-3, 0.05
"""Of answers that should be the same, relative to the largest; numbers that are rounded to 8 bits may tip over."""


def images(entry: Entry) -> Floats:
    """float32 x[3, ...] in the layout of the input: noise, of whole numbers where the input is in 8 bits."""
    size = (entry.height, entry.width, entry.channels)
    shape = size if entry.layout == "NHWC" else (entry.channels, entry.height, entry.width)
    rng = np.random.default_rng(0)
    if entry.dtype == "float32":
        return rng.standard_normal((IMAGES, *shape)).astype(np.float32)
    low, high = (0, 256) if entry.dtype == "uint8" else (-128, 128)
    return rng.integers(low, high, (IMAGES, *shape)).astype(entry.dtype)


class Trial:
    """An engine with one network, on one thread; of several outputs one is looked at."""

    def __init__(self, content: bytes, *, delegates: bool = True, output: int = 0) -> None:
        """Raises `Refused` where LiteRT does not take it. Without `delegates`, its own kernels compute all."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._output = output
        kernels = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._engine: Any = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kernels)
            self._engine.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise _cannot(error) from None

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each tensor of the file, as it was last computed."""
        return [tuple(int(size) for size in each["shape"]) for each in self._engine.get_tensor_details()]

    def takes(self, x: Floats) -> tuple[int, ...]:
        """The shape of one image of x[N, ...] as the file wants it: as it is, or without axes that it does not have."""
        wanted = tuple(int(size) for size in self._engine.get_input_details()[0]["shape"][1:])
        return x.shape[1:] if len(wanted) == x.ndim - 1 else wanted

    @property
    def step(self) -> float:
        """Between two answers that it can give; 0 where they are floats."""
        return float(self._engine.get_output_details()[self._output]["quantization"][0])

    def answers(self, x: Floats, *, together: bool) -> Floats:
        """float32 [N, classes] to inputs x[N, ...], one by one or all at once. Raises `Refused` where it cannot."""
        try:
            if together:
                return self._run(x)
            return np.concatenate([self._run(each[None]).reshape(1, -1) for each in x])
        except (ValueError, RuntimeError) as error:
            raise _cannot(error) from None

    def _run(self, x: Floats) -> Floats:
        source = self._engine.get_input_details()[0]
        if tuple(source["shape"]) != x.shape:
            self._engine.resize_tensor_input(source["index"], x.shape, strict=False)
            self._engine.allocate_tensors()
        self._engine.set_tensor(source["index"], x)
        self._engine.invoke()
        target = self._engine.get_output_details()[self._output]
        found = self._engine.get_tensor(target["index"])
        scale, zero = target["quantization"]
        return np.asarray((found.astype(np.float32) - zero) * (scale or 1.0) if scale else found, np.float32)


def prove(
    before: Trial, written: bytes, entry: Entry, classes: int, *, ending: Ending, quantized: bool, one_score: bool
) -> int:
    """How many images it takes at once, 0 for any number. Raises `Refused` where it answers otherwise than before.

    `before` runs the original, `written` is what is kept of it: its tensors have the shapes that it says, and its
    answers as many scores as it has `classes`, two of an original with `one_score`. `ending` is what was taken off.
    """
    x = images(entry)
    if lie := _lying(written, x[:1]):
        raise Refused(lie, action="Convert the network again, for images of one size")
    wanted = before.answers(x.reshape(IMAGES, *before.takes(x)), together=False)
    found = Trial(written).answers(x, together=False)
    if found.shape != (IMAGES, classes) or not np.isfinite(found).all():
        raise Refused(
            f"The network answers with numbers that are not finite, or not with {classes:,} for each image",
            action="Bring the weights of an earlier epoch, or convert the network again",
        )
    as_before = _softmax(found) if ending in ("softmax", "sigmoid") else found
    _require_same(
        as_before[:, 1:] if one_score else as_before,
        wanted,
        quantized,
        "Packed anew, the network answers otherwise",
        step=before.step,
    )
    try:
        together = Trial(written).answers(x, together=True)
    except Refused:
        return 1
    if together.shape != found.shape or _lying(written, x):
        return 1
    _require_same(together, found, quantized, "Several images together get other answers than each alone")
    return 0


def _lying(content: bytes, x: Floats) -> str:
    """A tensor that has fewer numbers along an axis than the file says, by which its indices were judged; "" for none.

    Those that it does not leave open have just as many. Without a delegate: one leaves shapes as they stand in the
    file.
    """
    from ai_edge_litert.schema_py_generated import Model

    trial, graph = Trial(content, delegates=False), Model.GetRootAs(content).Subgraphs(0)
    trial.answers(x, together=True)
    found = trial.shapes()
    for place in range(graph.TensorsLength()):
        tensor = graph.Tensors(place)
        said = tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
        many = len(x) > 1
        free = [many or tensor.ShapeSignature(axis) < 0 for axis in range(tensor.ShapeSignatureLength())]
        sizes = zip(found[place], said, free or [many] * len(said), strict=False)
        if len(found[place]) != len(said) or any(has < says or (has > says and not more) for has, says, more in sizes):
            name = shown((tensor.Name() or b"").decode("utf-8", "replace"))
            return f"A tensor ({name}) has the shape {found[place]}, and {said} in the file"
    return ""


def _require_same(one: Floats, other: Floats, quantized: bool, what: str, step: float = 0.0) -> None:
    """Numbers that are rounded to a `step` may besides be one and a half of it apart."""
    if one.shape != other.shape:
        raise Refused(what, action="Convert the network again")
    largest = max(float(np.abs(other).max()), 1e-6)
    off = max(float(np.abs(one - other).max()) - 1.5 * step, 0.0) / largest
    if off > (most := LARGEST_OF_INT8 if quantized else LARGEST_DIFFERENCE):
        raise Refused(f"{what}, by {off:.2g} of the largest number", expected=f"at most {most:g}")


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def _cannot(error: Exception) -> Refused:
    return Refused(
        f"LiteRT cannot run this network ({shown(' '.join(str(error).split()))})",
        action="See that it runs where it was made, and convert it again",
    )
