"""Whether an artifact still is the model it was made from: its logits beside those of its source network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core.bundle import Network, OnnxGraph, precision_title
from core.data import Contract, Floats, Inputs, Stored
from core.divergence import Divergence
from core.errors import BadInput
from core.onnx_reference import reference
from core.progress import Progress, Steps
from core.tflite_file import tflite_of
from core.tflite_reference import reference as tflite_reference
from profiling.statistics import Interval, wilson_interval
from profiling.subject import Subject

MOST_IMAGES = 1000
"""Of the test split, from its first on."""
_BATCH = 128
_MOST_PIXELS = 4_000_000
"""Of all images that pass at once."""
TOLERANCES: Mapping[str, float] = {
    "fp32": 1e-3, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2, "w16": 1e-2, "w8": 0.15, "int16": 0.15, "int8": 0.15,
    "fp8": 0.2, "w4": 0.2, "nvfp4": 0.4,
}  # fmt: skip
"""The largest `relative` that each precision explains, of logits as of any tensor on the way to them.

A value rounded to nearest is off by at most u of itself: 2^-11 in fp16 and TF32, 2^-8 in bf16, 2^-4 in fp8 (E4M3,
https://arxiv.org/abs/2209.05433). Spread evenly, that has a root mean square of u / sqrt(3): 0.03, 0.2 and 3.6 %. In
int8 (https://arxiv.org/abs/1712.05877), with 255 steps over some eight times the root mean square of a tensor, it is
0.9 % of that. Errors of layers are nearly independent and add up like their squares, which makes fifty layers seven
times as wrong as one: 0.2 % in fp16, 1.6 % in bf16 and 6 % in int8. The bounds are two to five times that, because few
ranges fit so well. With activations in 16 bits, weights in 8 bits remain. In fp8 and in 4 bits part of the error
averages out in sums; their bounds suit some dozen layers. In fp32 only the order of summation differs.
"""


class Fidelity(BaseModel):
    """How the logits of an opened artifact differ from those of its source network in fp32.

    The source answers in eager PyTorch or, where it is no torch module, in another engine as it stands: an ONNX graph
    in ONNX Runtime without rewriting, a `.tflite` file, and Keras by its conversion to one, in LiteRT without XNNPACK.

    It is the network as it was just before it was quantized or, where it was not, the very network exported.
    """

    model_config = ConfigDict(frozen=True)

    images: int
    agreeing: int
    """Images for which both give the same class the highest logit."""
    largest_difference: float
    """Of all logits, absolute."""
    mean_difference: float
    relative: float
    """Root mean square of the difference, over that of the source's logits."""
    largest_logit: float
    """Of the source, absolute: what `largest_difference` compares to."""
    not_finite: int = 0
    """Images with logits that are NaN or infinite; they count as disagreeing and in no difference."""
    judged_as: str = "fp32"
    """What its numbers are rounded to, a key of `TOLERANCES`, which decides how much may differ."""
    retrained: bool = False
    """Whether it was trained with rounding switched on, from the source on, so that it differs on purpose."""
    divergence: Divergence | None = None
    """The first layer that differs; None where it was not looked for."""

    @property
    def tolerance(self) -> float:
        """The largest `relative` that the rounding explains."""
        return TOLERANCES[self.judged_as]

    @property
    def agreement(self) -> float:
        """Share of the images with the same top class."""
        return self.agreeing / self.images

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the agreement."""
        return wilson_interval(self.agreeing, self.images)

    @property
    def differs(self) -> bool:
        """Whether it differs by more than its rounding explains; in fp32 all images have to agree.

        What was trained on since may differ by any amount, as long as it is finite.
        """
        if self.retrained or self.not_finite:
            return self.not_finite > 0
        return self.relative > self.tolerance or (self.judged_as == "fp32" and self.agreeing < self.images)

    @property
    def verdict(self) -> str:
        """One sentence on whether it is still the same model."""
        if self.not_finite:
            return f"Its logits are not finite for {self.not_finite:,} of {self.images:,} images."
        low, high = self.interval
        on = (
            f"on {100 * self.agreement:.4g} % of {self.images:,} images (95 % interval {100 * low:.1f} to "
            f"{100 * high:.1f} %)"
        )
        agrees = f"it agrees with its source {on}"
        differs = f"its logits differ by {_percent(self.relative)}"
        if self.retrained:
            return (
                "Another model on purpose, trained with rounding switched on: it agrees with the network that this "
                f"training began with {on}, and {differs}."
            )
        bound = f"the {100 * self.tolerance:.2g} % that {precision_title(self.judged_as)} explains"
        if not self.differs:
            return f"Still the same model: {agrees}, and {differs}, within {bound}."
        if self.relative > self.tolerance:
            return f"Not the same model any more: {agrees}, and {differs}, more than {bound}."
        return f"Not quite the same model: {agrees}, where {precision_title(self.judged_as)} should agree on all."


def source_logits(network: Network, pixels: Stored, contract: Contract, *, threads: int = 1) -> Steps[Floats]:
    """float32 logits[N, classes] of a network on the CPU, which stays as it is.

    A float module answers in eager PyTorch, with as many threads as torch has; an ONNX graph in ONNX Runtime, with
    nothing in it fused or rewritten; Keras and `.tflite` files in LiteRT's own kernels.
    """
    answer = _answering(network, threads)
    parts: list[Floats] = []
    for start in range(0, len(pixels), _batch(contract)):
        parts.append(answer(contract.prepare(pixels[start : start + _batch(contract)])))
        yield _progress(start + len(parts[-1]), len(pixels), contract, "asking the source network")
    return np.concatenate(parts)


def _answering(network: Network, threads: int) -> Callable[[Inputs], Floats]:
    if content := tflite_of(network):
        return tflite_reference(content, threads=threads)
    return reference(network.content, threads=threads) if isinstance(network, OnnxGraph) else _eager(network)


def _eager(network: Network) -> Callable[[Inputs], Floats]:
    """What a float32 copy of a torch module answers to x[N, C, H, W]."""
    import torch

    module: Any = copy.deepcopy(network)
    module = module.cpu().float().eval()

    def logits(x: Inputs) -> Floats:
        with torch.inference_mode():
            found: Floats = module(torch.from_numpy(x)).numpy()
        return found

    return logits


def measure_fidelity(session: Subject, expected: Floats, pixels: Stored, contract: Contract) -> Steps[Fidelity]:
    """How the session's logits differ from those expected[N, classes] for the same pixels[N, C, H, W].

    Raises `BadInput` where there are no images or not as many logits.
    """
    if not len(pixels) or len(expected) != len(pixels):
        raise BadInput(f"{len(pixels)} images and {len(expected)} logits", expected="as many of both, at least one")
    parts: list[Floats] = []
    size = min(_batch(contract), getattr(session, "largest_batch", _BATCH))
    for start in range(0, len(pixels), size):
        parts.append(session.run(contract.prepare(pixels[start : start + size])))
        yield _progress(start + len(parts[-1]), len(pixels), contract, "comparing with the source network")
    return compared(np.concatenate(parts), expected)


def compared(logits: Floats, expected: Floats) -> Fidelity:
    """How logits[N, classes] differ from those expected."""
    finite = np.isfinite(logits).all(1)
    given, source = logits[finite].astype(np.float64), expected[finite].astype(np.float64)
    difference = np.abs(given - source)
    return Fidelity(
        images=len(logits),
        agreeing=int((given.argmax(1) == source.argmax(1)).sum()),
        largest_difference=float(difference.max(initial=0.0)),
        mean_difference=float(difference.mean()) if len(given) else 0.0,
        relative=(relative_difference(given, source) or 0.0) if len(given) else 0.0,
        largest_logit=float(np.abs(expected).max()),
        not_finite=int((~finite).sum()),
    )


def relative_difference(given: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]]) -> float | None:
    """Root mean square of given - expected over that of expected; None where `given` is not finite.

    Where all that is expected is zero there is no scale, and the difference counts as it is.
    """
    if not np.isfinite(given).all():
        return None
    wrong = float(np.sqrt(np.square(given.astype(np.float64) - expected).mean()))
    scale = float(np.sqrt(np.square(expected.astype(np.float64)).mean()))
    return wrong / scale if scale else wrong


def _percent(share: float) -> str:
    """`1.2 %`; what is too small to mean anything has no digits."""
    return f"{100 * share:.2g} %" if share >= 1e-5 or not share else "less than 0.001 %"


def _batch(contract: Contract) -> int:
    return max(1, min(_BATCH, _MOST_PIXELS // (math.prod(contract.shape))))


def _progress(done: int, total: int, contract: Contract, doing: str) -> Progress:
    return Progress(done=done, total=total, unit=contract.unit, doing=doing)
