"""The truth matrix in words: what each cell shows of each aspect, and the whole as text. Knows no streamlit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from core.judging import Judging
from experiments.compare import DISTURBED
from experiments.every_runtime import TOO_FEW
from experiments.measures import NO_DIFFERENCE
from experiments.models import baseline_runtime, judging_of
from experiments.truth import COMPARED, Cell, Matrix, State
from experiments.truth_words import fastest_in_words, headline, speed
from profiling.fidelity import MOST_IMAGES
from profiling.statistics import wilson_interval
from runtimes import RUNTIMES
from ui import text
from ui.live import duration

Lines = Callable[[Cell, Matrix], tuple[str, ...]]

SIGNS: dict[State, str] = {"same": "✓", "within": "≈", "differs": "✗", "trained since": "↻", "not compared": "?"}
"""So that no verdict rests on colour alone."""
STATE_WORDS: dict[State, str] = {
    "same": "Same answers", "within": "Within its precision", "differs": "Differs",
    "trained since": "Trained while quantized", "not compared": "Not compared yet",
    "built ahead": "Built, not run here", "running": "Running", "queued": "Queued", "failed": "Failed",
    "does not fit": "Does not fit", "not here": "Not here", "not run": "Not run",
}  # fmt: skip
LONGEST_OPERATOR = 16
"""Characters that fit into a cell."""


@dataclass(frozen=True)
class Aspect:
    """One thing that all cells of the matrix can show."""

    title: str
    help: str
    lines: Lines
    """What a measured cell says, the most important line first."""
    value: Callable[[Cell], float | None] = lambda _: None
    """What its shade follows; None where the verdict decides its colour."""
    less_is_better: bool = True


def of_state(cell: Cell) -> tuple[str, ...]:
    """What a cell says in which there is nothing to measure: a word and, where one stands in the way, its operator."""
    operator = cell.operator.split(" (", maxsplit=1)[0]
    short = operator if len(operator) <= LONGEST_OPERATOR else f"{operator[: LONGEST_OPERATOR - 1]}…"
    words = "built, not<br>run here" if cell.state == "built ahead" else STATE_WORDS[cell.state].lower()
    return (words, short) if short else (words,)


def percent(share: float) -> str:
    """A difference as `1.2 %`; one that is hardly there as below 0.001 %."""
    return "below 0.001 %" if share < 1e-5 else f"{100 * share:.2g} %" if share < 1 else f"{100 * share:,.0f} %"


def agreement(cell: Cell, _: Matrix) -> tuple[str, ...]:
    """Share of images with the same top class, and how far the logits are off."""
    given = cell.fidelity
    if given is None:
        return ("not compared",)
    off = percent(given.relative)
    off = "not finite" if given.not_finite else off if off.startswith("below") else f"{off} off"
    return f"{100 * given.agreement:.4g} %", off


def accuracy(cell: Cell, _: Matrix) -> tuple[str, ...]:
    """Share of test images that are right, with its interval."""
    summary = cell.summary
    if summary is None:
        return ()
    low, high = wilson_interval(summary.correct, summary.total)
    return text.share(summary.accuracy), f"{100 * low:.1f} to {100 * high:.1f} %"


def latency(cell: Cell, found: Matrix) -> tuple[str, ...]:
    """Median and 95th percentile, and how many times faster than in eager PyTorch."""
    summary, reference = cell.summary, found.reference(cell)
    if summary is None:
        return ()
    p95 = f"p95 {text.fine_milliseconds(summary.p95_ms)}" if summary.p95_ms is not None else "p95: n too small"
    disturbed = " !" if summary.is_disturbed else ""
    against = [_short(speed(cell, reference)[1])] if reference else []
    return text.fine_milliseconds(summary.p50_ms) + disturbed, p95, *against


def _short(verdict: str) -> str:
    brief = {NO_DIFFERENCE: "no clear<br>difference", TOO_FEW: "timed too<br>briefly"}.get(verdict, verdict)
    return brief.replace(DISTURBED, " !")


def size(cell: Cell, _: Matrix) -> tuple[str, ...]:
    """Bytes of what ships."""
    summary = cell.summary
    return (text.data_size(summary.size_bytes), f"{summary.size_bytes:,} B") if summary else ()


def build_time(cell: Cell, _: Matrix) -> tuple[str, ...]:
    """How long opening took."""
    return (_time(cell.summary.build_ms),) if cell.summary else ()


def cold_start(cell: Cell, _: Matrix) -> tuple[str, ...]:
    """From nothing to the first answer."""
    if cell.summary is None:
        return ()
    return (_time(cell.summary.cold_start_ms) if cell.summary.cold_start_ms is not None else "not measured",)


def _time(value_ms: float) -> str:
    return duration(value_ms / 1000) if value_ms >= 1000 else text.milliseconds(value_ms)


AGREEMENT_HELP = (
    f"Of the test images compared, the first {MOST_IMAGES:,} at most, the share that get the same top class from the "
    "opened export as from the network it was made from, in eager PyTorch and FP32 (of an ONNX file in ONNX Runtime, "
    "nothing in it rewritten; of Keras and .tflite files in LiteRT's reference kernels); a 95 % Wilson interval goes "
    "with it. Of a quantized network that is the one just before it was quantized, or trained with rounding "
    "switched on."
)
RELATIVE_HELP = (
    "Root mean square of the difference of all logits, over that of the source's logits. The tolerance is what "
    "computing in that precision explains."
)
LARGEST_HELP = "The largest absolute difference of any logit of any image; compare it with the largest logit."
BUILD_HELP = (
    "Opening the file: reading, optimising or compiling it until it can serve. What AOTInductor and TensorRT build "
    "when they export is not in it."
)
COLD_START_HELP = (
    "Importing the engine, opening the file and the first answer for one image, in a fresh process. The start of "
    "Python itself does not count. torch.compile finds in its cache what it compiled a moment before: on a machine "
    "that never opened this file it takes several times as long."
)
ASPECTS: dict[str, Aspect] = {
    "agreement": Aspect("Same model?", AGREEMENT_HELP, agreement),
    "accuracy": Aspect(
        "Accuracy", "Share of the test images that are right, with its 95 % interval.", accuracy,
        lambda cell: cell.summary.accuracy if cell.summary else None, less_is_better=False,
    ),
    "latency": Aspect(
        "Latency", "Median time of one inference, and what 95 of 100 stay below; then how it compares with the same "
        "variant in eager PyTorch or, where that cannot run it, with the untouched model there; of a model that is an "
        "ONNX file in ONNX Runtime, of one of Keras in LiteRT. `!`: something else slowed the timing, of either of the "
        "two where it stands behind a difference.", latency,
        lambda cell: cell.summary.p50_ms if cell.summary else None,
    ),
    "size": Aspect(
        "Size", "Bytes of all files that ship.", size, lambda cell: cell.summary.size_bytes if cell.summary else None
    ),
    "build": Aspect(
        "Build time", BUILD_HELP, build_time, lambda cell: cell.summary.build_ms if cell.summary else None
    ),
    "cold_start": Aspect(
        "Cold start", COLD_START_HELP, cold_start, lambda cell: cell.summary.cold_start_ms if cell.summary else None
    ),
}  # fmt: skip
"""What a cell can show, by its name in an address and on the command line."""


def cell_lines(cell: Cell, found: Matrix, aspect: Aspect) -> tuple[str, ...]:
    """What the cell says, its verdict's sign before the first line."""
    if cell.summary is None:
        return of_state(cell)
    first, *others = aspect.lines(cell, found)
    star = " *" if cell.recipe.engine.label() else ""
    return (f"{SIGNS[cell.state]} {first}{star}", *others)


def hover(cell: Cell) -> str:
    """What a person pointing at the cell reads first, in one or two sentences."""
    if cell.fidelity and cell.summary:
        return cell.fidelity.verdict
    if cell.state == "not compared":
        return "It was measured before answers were compared with the source network. Run it again."
    return cell.why or f"{STATE_WORDS[cell.state]}."


def images_compared(found: Matrix) -> str:
    """`1,000 images`, or from how few to how many where cells differ; empty where nothing was compared."""
    counts = sorted({cell.fidelity.images for cell in found.cells if cell.fidelity})
    ends = " to ".join(f"{count:,}" for count in dict.fromkeys([*counts[:1], *counts[-1:]]))
    return f"{ends} {judging_in(found).unit}" if ends else ""


def legend(found: Matrix) -> str:
    """What the colours of the agreement say, as markdown."""
    compared = images_compared(found)
    same = f"the same answer for each of the {compared} compared" if compared else "the same answers"
    trained = any(cell.state == "trained since" for cell in found.cells)
    return (
        f":green-badge[✓ {same}] :orange-badge[≈ differs within what its precision explains] "
        f":red-badge[✗ differs by more] {':gray-badge[↻ trained while quantized] ' if trained else ''}"
        ":gray-badge[nothing measured; hatched: not possible here, or failed]"
    )


def judging_in(found: Matrix) -> Judging:
    """What is counted of the examples of the matrix, in words."""
    known = next((cell.summary for cell in found.cells if cell.summary), None)
    return known.judging if known else judging_of(found.rows[0].cells[0].recipe.model)


def aspects(judging: Judging) -> dict[str, Aspect]:
    """What all cells can show; without labels no accuracy, but how often the untouched model is agreed with."""
    accuracy = ASPECTS["accuracy"]
    named = replace(accuracy, title=answers_title(judging), help=f"{judging.help} With its 95 % interval.")
    return ASPECTS | {"accuracy": named}


def answers_title(judging: Judging) -> str:
    """How the share of good answers is called beside the agreement of an export with its source."""
    return judging.title if judging.has_labels else "Agreement with the untouched model"


def against(found: Matrix) -> str:
    """What speeds are set beside, as a sentence."""
    references = [(cell, found.reference(cell)) for cell in found.cells if cell.summary]
    others = {cell.variant for cell, reference in references if reference and reference.variant != cell.variant}
    model = found.rows[0].cells[0].recipe.model
    runtime = baseline_runtime(model)
    where = "eager PyTorch" if runtime == "pytorch" else RUNTIMES[runtime].title
    words = f"Faster or slower: than the same variant in {where}"
    return f"{words}; {', '.join(sorted(others))}: than the untouched model there." if others else f"{words}."


def unusual(found: Matrix) -> str:
    """Which cells were measured with unusual engine settings only; empty where none was."""
    told = [f"{cell.place}: {label}" for cell in found.cells if cell.summary and (label := cell.recipe.engine.label())]
    return f"* with these engine settings only, not the usual ones: {'; '.join(told)}." if told else ""


def as_text(found: Matrix, aspect: Aspect) -> str:
    """The matrix for a terminal: a line a variant, then what differs, and why cells are empty."""
    rows = {
        row.title: [", ".join(cell_lines(cell, found, aspect)).replace("<br>", " ") for cell in row.cells]
        for row in found.rows
    }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=[RUNTIMES[key].title for key in RUNTIMES])
    told = [f"{aspect.title}: {aspect.help.replace('`', '')}", frame.to_string(), headline(found)]
    told += [fastest_in_words(found), unusual(found), *(_remark(cell) for cell in found.cells if _is_remarkable(cell))]
    return "\n\n".join(filter(None, told))


def _is_remarkable(cell: Cell) -> bool:
    return cell.state == "differs" or (cell.state not in COMPARED and bool(cell.why))


def _remark(cell: Cell) -> str:
    begins = cell.fidelity.divergence.verdict if cell.fidelity and cell.fidelity.divergence else ""
    named = f" Operator: {cell.operator}." if cell.operator and cell.operator not in cell.why else ""
    return f"{cell.place}: {hover(cell)}{named} {begins}".rstrip()
