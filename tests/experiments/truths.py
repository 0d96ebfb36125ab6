"""Finished runs that know how far they are from their source network."""

from __future__ import annotations

from typing import Any

from core.divergence import Comparison, Divergence
from experiments.recipe import Recipe
from experiments.store import Store
from experiments.truth import Matrix, Sources, matrix, variants_of
from optimizers import TECHNIQUES
from profiling.fidelity import Fidelity
from tests.pages.left_behind import measured

MODEL, SETTINGS = "resnet_fmnist", "cpu|1|0"
UNTOUCHED = Recipe(model=MODEL)
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
PRUNED = Recipe(model=MODEL, techniques=(TECHNIQUES["structured_pruning"](),))


def at(recipe: Recipe, runtime: str, **engine: Any) -> Recipe:
    """The recipe in another runtime, with these settings of its engine."""
    return Recipe.model_validate(recipe.model_dump(exclude={"engine"}) | {"runtime": runtime, "engine": engine})


def fidelity(*, agreeing: int = 1000, relative: float = 1e-6, divergence: Divergence | None = None) -> Fidelity:
    """Of 1,000 images."""
    return Fidelity(
        images=1000, agreeing=agreeing, largest_difference=0.5, mean_difference=0.1, relative=relative,
        largest_logit=20, divergence=divergence,
    )  # fmt: skip


def finished(store: Store, recipe: Recipe, found: Fidelity | None = None, *, p50_ms: float = 1.0, **facts: Any) -> str:
    """Leave a finished run with that fidelity; its id."""
    result = measured(recipe, wrong=100, p50_ms=p50_ms, size_bytes=1000)
    found = found and found.model_copy(update={"judged_as": facts.get("precision", result.precision)})
    run_id = store.begin_here(recipe)
    store.finish(run_id, result.model_copy(update={"fidelity": found, "cold_start_ms": 900.0, **facts}))
    return run_id


def diverging(*relatives: float | None, tolerance: float = 0.15, first: int | None) -> Divergence:
    """Tensors t0, t1 ... of modules `net.0`, `net.1` ..., of which the one at `first` is the first that diverges."""
    probed = tuple(
        Comparison(tensor=f"t{at}", module=f"net.{at}", relative=value, diverges=value is None or value > tolerance)
        for at, value in enumerate(relatives)
    )
    found = {} if first is None else {"tensor": f"t{first}", "op": "aten.conv2d", "layers": (f"net.{first}",)}
    return Divergence(images=8, tolerance=tolerance, comparable=40, probed=probed, **found)


def sources(store: Store) -> Sources:
    """What the cells need of the store."""

    def fidelity_of(run_id: str) -> Fidelity | None:
        result = store.result(run_id)
        return result.fidelity if result else None

    return Sources(fidelity_of, store.ahead_result)


def whole(store: Store) -> Matrix:
    """All variants of the model."""
    return matrix(variants_of(store, MODEL, SETTINGS), sources(store))
