"""What a factorised network would be at another energy, from its stored spectra, and the recipe for it."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pydantic import ValidationError

from core.errors import BadInput
from core.low_rank import Choice, FactorisedLayer, LowRankReport, choose_rank, cumulative_energy, largest_saving_rank
from experiments.recipe import Recipe
from optimizers import TECHNIQUES
from optimizers.technique import Technique

KEY = "low_rank"
MOST_POINTS = 200
"""Of one layer's curve."""


def predicted(report: LowRankReport, energy: float) -> LowRankReport:
    """The report of the same run at another energy: at its own, the report itself.

    An activation-aware run keeps the spectra of its whitened weights, so that the prediction holds for it too. What
    the layers leave over, such as norms, convolutions with larger kernels and attention products, stays as it is.
    """
    layers = tuple(_at(layer, energy, report.round_to) for layer in report.layers)
    sums = {
        f"{what}_after": getattr(report, f"{what}_before")
        + sum(getattr(each, f"{what}_after") - getattr(each, f"{what}_before") for each in layers)
        for what in ("parameters", "macs")
    }
    return report.model_copy(update={"energy": energy, "layers": layers, **sums})


def _at(layer: FactorisedLayer, energy: float, multiple: int) -> FactorisedLayer:
    if layer.is_fixed:
        return layer
    choice = choose_rank(layer.spectrum.array, layer.inputs, layer.outputs, energy=energy, multiple=multiple)
    whole = layer.inputs * layer.outputs
    product = whole if choice.why_kept else choice.rank * (layer.inputs + layer.outputs)
    return layer.model_copy(update=_changes(layer, choice, product, whole))


def _changes(layer: FactorisedLayer, choice: Choice, product: int, whole: int) -> dict[str, Any]:
    return {
        "rank": choice.rank,
        "energy": choice.energy,
        "why_kept": choice.why_kept,
        "parameters_after": layer.parameters_before - whole + product,
        "macs_after": layer.macs_before // whole * product,
    }


def recipe_at(recipe: Recipe, energy: float) -> Recipe:
    """The recipe with that energy and no name. Raises `BadInput` where the technique does not take it."""
    techniques = tuple(_with(each, energy) if each.key == KEY else each for each in recipe.techniques)
    return recipe.model_copy(update={"name": "", "techniques": techniques})


def _with(technique: Technique, energy: float) -> Technique:
    try:
        return TECHNIQUES[KEY].model_validate(technique.model_dump() | {"energy": energy})
    except ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors())
        raise BadInput(f"An energy of {energy:g} does not fit: {reasons}", action="Choose another one") from None


def layer_table(report: LowRankReport) -> pd.DataFrame:
    """One row a layer, in the order of execution."""
    rows = (layer.model_dump(exclude={"spectrum", "is_fixed"}) for layer in report.layers)
    columns = [name for name in FactorisedLayer.model_fields if name not in ("spectrum", "is_fixed")]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(0, "place", range(1, len(frame) + 1))
    frame.insert(5, "full_rank", [layer.full_rank for layer in report.layers])
    return frame


def energy_curves(report: LowRankReport) -> pd.DataFrame:
    """The energy that each rank would keep: one row a point, at most 200 a layer.

    Columns: layer, kind, rank, full_rank, share (of the full rank), energy, saves (arithmetic at that rank).
    """
    parts = [_curve(layer, report.round_to) for layer in report.layers if not layer.is_fixed]
    columns = ["layer", "kind", "rank", "full_rank", "share", "energy", "saves"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _curve(layer: FactorisedLayer, multiple: int) -> pd.DataFrame:
    energies = cumulative_energy(layer.spectrum.array)
    step = -(-len(energies) // MOST_POINTS)
    most = largest_saving_rank(layer.inputs, layer.outputs, multiple=multiple)
    ranks = sorted({*range(step, len(energies) + 1, step), 1, max(1, most), layer.rank, len(energies)})
    return pd.DataFrame(
        {
            "layer": layer.name,
            "kind": layer.kind,
            "rank": ranks,
            "full_rank": layer.full_rank,
            "share": [rank / layer.full_rank for rank in ranks],
            "energy": [float(energies[rank - 1]) for rank in ranks],
            "saves": [rank <= most for rank in ranks],
        }
    )
