"""Is every export still the same model? `python -m benchmarks.truth [--only "resnet*"] [--markdown FILE]`.

Every bundled sample, in FP32 and in INT8, in every runtime of this machine: agreement with the network it was made from
on the first 1,000 test images, largest and root mean square difference of the logits, and bytes.
"""

from __future__ import annotations

import sys

from benchmarks.recipes import Found, main, recipe, refusals, results, table
from experiments.checking import why_refused
from experiments.recipe import Recipe
from runtimes import RUNTIMES
from sample_models import MODELS

INT8 = {"int8": {"calibration_images": 256}}
HEAD = (
    "variant", "agreement", "of images", "largest difference", "off by", "explained", "verdict", "KiB",
)  # fmt: skip


def rows() -> dict[str, Recipe]:
    """By name, what can run here."""
    wanted = {
        f"{model} {name} {runtime}": recipe(model, runtime, *techniques)
        for model in MODELS
        for name, techniques in (("FP32", ()), ("INT8", (INT8,)))
        for runtime in RUNTIMES
    }
    return {name: each for name, each in wanted.items() if not why_refused(each)}


def tables_of(found: Found) -> str:
    """One line a row."""
    lines = []
    for name, result in results(found).items():
        given = result.fidelity
        assert given
        lines.append(
            [
                name,
                f"{100 * given.agreement:.4g} %",
                f"{given.images:,}",
                f"{given.largest_difference:.1e}",
                f"{100 * given.relative:.2g} %",
                f"{100 * given.tolerance:.2g} %",
                "differs" if given.differs else "same" if given.agreeing == given.images else "within its precision",
                f"{result.size.size_bytes / 1024:,.0f}",
            ]
        )
    return "\n\n".join([table(HEAD, lines), *refusals(found)]) + "\n"


if __name__ == "__main__":
    sys.exit(main("benchmarks.truth", __doc__, rows(), tables_of))
