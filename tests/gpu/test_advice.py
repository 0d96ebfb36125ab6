from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.progress import Finished
from experiments.advice import advise
from experiments.profile import ProfileResult, run_profile
from experiments.promise import figures_of, figures_of_profile, outcome
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


def test_a_launch_bound_network_gains_what_a_cuda_graph_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    quick = MeasurementSettings(latency_seconds=1, sweep_seconds=0)
    recipe = Recipe(model="resnet_fmnist", runtime="pytorch", device="cuda:0", measurement=quick)
    for folder in ("profile", "run"):
        (tmp_path / folder).mkdir()
    last = list(run_profile(recipe, tmp_path / "profile", None))[-1]
    assert isinstance(last, Finished)
    result = ProfileResult.model_validate(last.result)
    advice = next(each for each in advise(result, recipe) if each.key == "cuda_graph")
    ran = list(run(advice.recipe, tmp_path / "run"))[-1]
    assert isinstance(ran, Finished)
    after = figures_of(RunResult.model_validate(ran.result).summary())
    found = outcome(advice.promise, figures_of_profile(result), after)
    assert found.verdict == "kept", found.sentence
