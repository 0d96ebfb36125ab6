"""What another energy would leave, foretold from the spectra and checked against real runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.devices import find_device
from core.errors import BadInput
from core.low_rank import LowRankReport, choose_rank, largest_saving_rank
from core.progress import result_of
from experiments.low_rank import energy_curves, layer_table, predicted, recipe_at
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml, to_yaml
from optimizers import TECHNIQUES
from optimizers.technique import Context
from tests.experiments.low_rank_reports import layer_of, report_of
from tests.optimizers.conftest import TinyTransformer, build_network, bundle_of


@pytest.mark.parametrize("aware", [False, True], ids=["plain", "activation-aware"])
def test_what_is_foretold_is_what_a_run_gives(aware: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(TinyTransformer().eval(), "transformer")
    context = Context(find_device("cpu"), 1, 0, tmp_path, build_network)
    reports: dict[float, LowRankReport] = {}
    for energy in (0.6, 0.75):
        settings = {"energy": energy, "activation_aware": aware, "epochs": 0, "keep": ("blocks.0.mlp",)}
        done = result_of(TECHNIQUES["low_rank"](**settings).apply(bundle, context)).low_rank
        assert done
        reports[energy] = LowRankReport.model_validate_json(done.model_dump_json())
    assert predicted(reports[0.6], 0.6) == reports[0.6]
    assert predicted(reports[0.6], 0.75) == reports[0.75]
    assert reports[0.6].macs_after < reports[0.75].macs_after


def test_ranks_are_the_smallest_that_keep_the_energy() -> None:
    spectrum = np.sqrt([0.5, 0.3, 0.15, 0.05])
    ranks = [choose_rank(spectrum, 40, 40, energy=energy).rank for energy in (0.5, 0.51, 0.8, 0.95, 0.96)]
    assert ranks == [1, 2, 2, 3, 4]
    assert choose_rank(spectrum, 40, 40, energy=0.51, multiple=4).rank == 4
    assert choose_rank(np.zeros(4), 40, 40, energy=0.9).rank == 1


@pytest.mark.parametrize(("inputs", "outputs"), [(96, 96), (96, 288), (2, 2), (1, 5), (100, 10), (3, 6)])
def test_the_largest_saving_rank_is_where_saving_ends(inputs: int, outputs: int) -> None:
    most = largest_saving_rank(inputs, outputs)
    assert most * (inputs + outputs) < inputs * outputs <= (most + 1) * (inputs + outputs)


def test_a_rank_that_saves_nothing_leaves_the_layer_whole() -> None:
    flat = choose_rank(np.ones(20), 20, 20, energy=0.9)
    assert (flat.rank, flat.energy) == (20, 1.0)
    assert "rank 18 of 20" in flat.why_kept
    assert "only up to 9" in flat.why_kept


def test_fixed_layers_stay_at_any_energy() -> None:
    report = report_of(layer_of("body", 40, 40), layer_of("head", 40, 40, why_fixed="Kept by the pattern head."))
    low, high = predicted(report, 0.5), predicted(report, 0.999999)
    assert low.layers[1] == high.layers[1] == report.layers[1]
    assert low.layers[0].rank < report.layers[0].rank < high.layers[0].rank == 40
    assert high.macs_after == high.macs_before
    assert low.parameters_before - low.parameters_after == 40 * 40 - low.layers[0].rank * 80


def test_the_recipe_differs_in_nothing_but_the_energy() -> None:
    technique = TECHNIQUES["low_rank"](energy=0.9, keep=("head",))
    recipe = Recipe(model="vit_fmnist", name="Mine", techniques=(technique, TECHNIQUES["int8"]()), seed=3)
    made = recipe_at(recipe, 0.95)
    assert made.techniques == (TECHNIQUES["low_rank"](energy=0.95, keep=("head",)), TECHNIQUES["int8"]())
    assert (made.seed, made.name) == (3, "")
    assert from_yaml(to_yaml(made)) == made
    with pytest.raises(BadInput, match=r"An energy of 0\.3"):
        recipe_at(recipe, 0.3)


def test_curves_rise_to_all_of_the_energy_and_stay_short() -> None:
    report = report_of(layer_of("wide", 900, 900, decay=0.01), layer_of("head", 4, 9, why_fixed="Kept."))
    curves = energy_curves(report)
    assert set(curves.layer) == {"wide"}
    assert len(curves) < 205
    assert curves.energy.is_monotonic_increasing
    assert (curves["rank"].iloc[0], curves.share.iloc[-1], curves.energy.iloc[-1]) == (1, 1.0, 1.0)
    assert report.layers[0].rank in set(curves["rank"])
    assert max(curves["rank"][curves.saves]) == 449
    assert energy_curves(report_of(report.layers[1])).empty


def test_the_table_has_a_row_a_layer() -> None:
    table = layer_table(report_of(layer_of("a", 40, 20), layer_of("b", 4, 4, why_fixed="Kept.")))
    assert list(table.name) == ["a", "b"]
    assert list(table.full_rank) == [20, 4]
    assert table.why_kept[1] == "Kept."
