"""Runs a graph in ONNX Runtime on a few images, to see that it answers, and the same as before it was changed.

Imports onnxruntime inside its functions.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.data import Floats
from core.errors import Refused
from core.unsupported import operator_in
from intake.items import GraphInput
from intake.parsing.graph_checks import EXPORTED
from intake.parsing.untrusted import shown

if TYPE_CHECKING:
    import onnxruntime


MANY_MACS = 2 * 10**10
"""With more of them for an image, fewer images are tried."""
_AT_NODE = re.compile(r"running (?P<op>\w+) node\. Name:'(?P<name>[^']*)' Status Message: (?P<what>[^\n]*)")


def trial_images(channels: int, height: int, width: int, *, macs: int, pixels: bool) -> Floats:
    """float32 [N, C, H, W]: a black image and others of noise, of whole numbers from 0 to 255 with `pixels`."""
    rng = np.random.default_rng(0)
    shape = (3 if macs <= MANY_MACS else 2, channels, height, width)
    noise = rng.integers(0, 256, shape) if pixels else rng.standard_normal(shape)
    images = noise.astype(np.float32)
    images[0] = 0
    return images


def answers_of_original(content: bytes, images: Floats, taken: GraphInput, *, batch: int) -> Floats:
    """float32 [N, ...] of a graph as it came, fed with its own batch size, layout and type; sides of 1 are kept.

    Raises `Refused` where it does not run.
    """
    session = opened(content)
    turned = images if taken.layout == "NCHW" else images.transpose(0, 2, 3, 1)
    fed = turned.astype(np.uint8 if taken.dtype == "uint8" else np.float32)
    name = session.get_inputs()[0].name
    with _in_words():
        answers = [session.run(None, {name: np.repeat(each[None], batch, 0)})[0][:1] for each in fed]
    return np.concatenate(answers).astype(np.float32)


@dataclass(frozen=True)
class Tolerance:
    """Largest differences that count as the same, relative to the largest number of an answer."""

    batch: float = 1e-4
    """Between images together and each alone."""
    rewriting: float = 1e-4
    """Between the graph as it came and as it is written."""


def tolerance_for(operators: Container[str], *, quantized: bool) -> Tolerance:
    """Rounding to 8 bits may tip over; where the grid is found anew for each batch, it depends on all its images."""
    if "DynamicQuantizeLinear" in operators:
        return Tolerance(batch=0.2, rewriting=2e-2)
    return Tolerance(batch=2e-2, rewriting=2e-2) if quantized else Tolerance()


def prove(content: bytes, images: Floats, wanted: Floats, tolerance: Tolerance) -> list[str]:
    """Warnings about a graph in our form, which answers as `wanted`[N, ...] one by one and all images together.

    Raises `Refused` where it does not, or where its answers are no finite numbers.
    """
    session = opened(content)
    with _in_words():
        single = np.concatenate([session.run(None, {"input": each[None]})[0] for each in images])
        together = session.run(None, {"input": images})[0]
    wanted = wanted.reshape(single.shape)
    if not np.isfinite(wanted[1:]).all():
        raise Refused(
            "The network answers with numbers that are not finite", action="Bring the weights of an earlier epoch"
        )
    apart, changed = _difference(together, single), _difference(single, wanted)
    if apart > tolerance.batch:
        raise Refused(
            f"Several images together get other answers than each alone, off by {apart:.2g} of the largest number",
            expected="answers that depend on one image only",
            action="Export it in eval mode, with a batch size that is left open",
            snippet=EXPORTED,
        )
    if changed > tolerance.rewriting:
        raise Refused(
            f"Written anew, the graph answers differently, by {changed:.2g} of the largest number",
            expected=f"at most {tolerance.rewriting:g}",
        )
    return list(_doubts(single, apart))


def _difference(one: Floats, other: Floats) -> float:
    """The largest, relative to the largest number; of a black image's only where they are finite."""
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    known = np.isfinite(one)
    scale = max(float(np.abs(other[known]).max(initial=0)), 1e-6)
    return float(np.abs(one[known] - other[known]).max(initial=0)) / scale


def _doubts(single: Floats, apart: float) -> Iterator[str]:
    if apart > Tolerance().batch:
        yield f"Answers depend a little on the other images of a batch: by {apart:.1%} of the largest number"
    if not np.isfinite(single[0]).all():
        yield "For a wholly black image the network answers with numbers that are not finite"
    elif np.ptp(single, axis=0).max() == 0:
        yield "The network gives the same answer for every image that was tried"


def opened(content: bytes) -> onnxruntime.InferenceSession:
    """A session on one thread of the CPU, which rewrites little. Raises `Refused` for a graph that cannot be opened."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with _in_words():
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def _in_words() -> Iterator[None]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors: tuple[Any, ...] = (
        state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented, state.RuntimeException,
        state.InvalidProtobuf, state.EPFail, state.EngineError,
    )  # fmt: skip
    try:
        yield
    except errors as error:
        raise Refused(
            f"ONNX Runtime cannot run this graph on a CPU ({_reason(str(error))})",
            action="See that it runs where it was made, and export it again",
            snippet=EXPORTED,
        ) from None


def _reason(words: str) -> str:
    """Which operator it is, and what is wrong with it."""
    if operator := operator_in(words):
        return f"it has no {shown(operator)}"
    if found := _AT_NODE.search(words):
        return shown(f"{found['op']} {found['name']}: {found['what']}").rstrip(".")
    return shown(words.rpartition(" : ")[2].replace("\n", " ")).rstrip(".")
