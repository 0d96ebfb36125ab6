"""Why a .tflite file is as large and as fast as it is: what LiteRT does with its numbers, beside what was measured.

Needs no profile. What an engine does with a kind of number is known and said plainly; whether a variant is faster or
slower is only said where it was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.bundle import precision_title
from experiments.compare import doubted, latency_verdict
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.why_format import ms, percent
from profiling.latency import Latency
from profiling.size import Size
from runtimes import RUNTIMES

LITERT = "litert"
XNNPACK = "xnnpack"
"""The setting of LiteRT's kernels that is usual."""
PRUNING, CLUSTERING = "keras_pruning", "keras_clustering"
MANY_ZEROS = 0.1
"""Share of the weights, more than in the reference, from which zeros are worth a word."""
DYNAMIC = "dynamic"
COMPRESSION = (
    "In a .tflite file, zeros and clustered weights take as many bytes and as many multiplications as any others: "
    "pruning and weight clustering shrink the compressed file alone, and speed nothing up."
)
"""For everyone who looks at such variants."""


@dataclass(frozen=True)
class Remark:
    """One fact about a variant."""

    key: str
    title: str
    sentence: str


def remarks(recipe: Recipe, result: RunResult, reference: RunResult | None) -> tuple[Remark, ...]:
    """What explains size and speed of a .tflite variant against the untouched network in the same runtime.

    Empty for every other variant. Without a `reference` nothing is compared.
    """
    if not is_tflite(result):
        return ()
    engine = RUNTIMES[recipe.runtime].title
    found = [*_zeros(result, reference, engine), *_clusters(recipe, result, reference, engine)]
    return (*_numbers(recipe, result, reference), *found)


def is_tflite(result: RunResult) -> bool:
    """Whether what ships is a .tflite file."""
    return any(name.endswith(".tflite") for name in result.artifact_files)


def shrinks_only_compressed(recipe: Recipe) -> bool:
    """Whether a technique was applied that pays after compression alone."""
    return any(technique.key in (PRUNING, CLUSTERING) for technique in recipe.techniques)


def _zeros(result: RunResult, reference: RunResult | None, engine: str) -> Iterator[Remark]:
    before = reference.size.sparsity if reference else 0.0
    if result.size.sparsity - before < MANY_ZEROS:
        return
    yield Remark(
        "zeros",
        "Zeros are stored and multiplied",
        f"{percent(result.size.sparsity)} of the weights are zero. {engine} stores a zero in as many bits as any other "
        "number and multiplies by it in the same time, so that pruning neither shrinks this file nor speeds it up. "
        + _compressed(result, reference),
    )


def _clusters(recipe: Recipe, result: RunResult, reference: RunResult | None, engine: str) -> Iterator[Remark]:
    if not any(technique.key == CLUSTERING for technique in recipe.techniques):
        return
    yield Remark(
        "clusters",
        "Clustered weights are ordinary numbers",
        "The weights of a clustered layer take few distinct values, and the file still holds one number for each "
        f"weight, which {engine} multiplies like any other: clustering neither shrinks this file nor speeds it up. "
        + _compressed(result, reference),
    )


def _compressed(result: RunResult, reference: RunResult | None) -> str:
    """What gzip leaves of the file."""
    theirs = f", and {_left(reference.size)} of the reference's" if reference else ""
    return f"What it shrinks is the compressed file: gzip leaves {_left(result.size)} of this one{theirs}."


def _left(size: Size) -> str:
    """`29 % (120 of 417 KiB)`."""
    kept, whole = size.gzip_bytes / 1024, size.size_bytes / 1024
    return f"{percent(kept / whole)} ({kept:,.0f} of {whole:,.0f} KiB)"


def _numbers(recipe: Recipe, result: RunResult, reference: RunResult | None) -> Iterator[Remark]:
    """What LiteRT does with numbers of this precision; other engines have their own ways."""
    key = DYNAMIC if result.precision == "int8" and is_dynamic(result) else result.precision
    has_fast_kernels = getattr(recipe.engine, "kernels", XNNPACK) == XNNPACK
    if recipe.runtime != LITERT or (has_fast_kernels and key not in _WHAT):
        return
    title, what = _WHAT[key] if has_fast_kernels else _WITHOUT_XNNPACK
    yield Remark("numbers", title, f"{what} {measured(result, reference)}".strip())


_WITHOUT_XNNPACK = (
    "Not the fast kernels",
    "The recipe asks for other kernels than those of XNNPACK, LiteRT's library of fast CPU kernels: times say what "
    "these kernels take, and little of what the format could.",
)


_WHAT = {
    "int8": (
        "Integers are multiplied",
        "Weights and activations are 8-bit integers, a quarter of the bytes, and a vector instruction of the "
        "processor multiplies several of them where it multiplies one float.",
    ),
    DYNAMIC: (
        "Integers are multiplied, floats in between",
        "Weights are 8-bit integers, a quarter of the bytes. Every call rounds the activations to 8 bits, multiplies "
        "integers, and turns the results back into floats; the rounding costs part of what the integers save.",
    ),
    "w16": (
        "FP16 weights are widened",
        "The weights are kept in 16 bits, which halves the file, and widened to 32-bit floats when it is opened: a CPU "
        "multiplies the very numbers that it did before, so their format changes nothing in speed.",
    ),
    "w8": (
        "Weights are widened",
        "The weights are kept as 8-bit integers and widened to floats before they are multiplied: the file is smaller, "
        "and the arithmetic is that of floats.",
    ),
    "w4": (
        "Two weights in a byte",
        "The weights are kept as 4-bit integers, two in a byte, which takes half of the bytes of 8-bit weights. "
        "Processors multiply no numbers of 4 bits: they are unpacked first.",
    ),
    "int16": (
        "No fast kernels for 16-bit activations",
        "For activations in 16 bits with weights in 8, XNNPACK, the library with LiteRT's fast CPU kernels, has none: "
        "LiteRT runs its reference kernels, written to be exact and not fast. They are meant for accelerators that "
        "compute in this format.",
    ),
}


def is_dynamic(result: RunResult) -> bool:
    """Whether a file with weights in INT8 leaves the rounding of activations to each call.

    It takes floats and has no QUANTIZE operator, without which no activation in it can be an integer.
    """
    facts = result.tflite
    return facts is not None and facts.input_type == "float32" and "QUANTIZE" not in facts.operators


def measured(result: RunResult, reference: RunResult | None) -> str:
    """How fast it is against the reference, and whether the timing was disturbed, in a sentence; empty without one."""
    if reference is None or reference.latency.batch_size != result.latency.batch_size:
        return ""
    ours, theirs = result.latency, reference.latency
    (low, high), speedup = _ratio_interval(theirs, ours), theirs.p50_ms / ours.p50_ms
    verdict = doubted(latency_verdict(speedup, low, high), result.summary(), reference.summary())
    against = f"{ms(ours.p50_ms)} against {ms(theirs.p50_ms)} for {precision_title(reference.precision)}"
    return f"Measured here: {verdict} ({against})."


def _ratio_interval(before: Latency, after: Latency) -> tuple[float, float]:
    """Both ends of how many times faster; without intervals they say nothing either way."""
    theirs, ours = before.p50_interval_ms, after.p50_interval_ms
    return (theirs[0] / ours[1], theirs[1] / ours[0]) if theirs and ours else (0.0, float("inf"))


def in_general(recipes: Iterable[Recipe]) -> str:
    """One sentence for a page on which some variants pay after compression alone; empty where none does."""
    return COMPRESSION if any(map(shrinks_only_compressed, recipes)) else ""
