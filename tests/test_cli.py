from __future__ import annotations

from pathlib import Path

import pytest

import cli
from experiments.folders import data_folder
from experiments.recipe import MeasurementSettings, Recipe, to_yaml
from experiments.store import Store

QUICK = Recipe(
    model="student_dw_fmnist", runtime="onnxruntime", measurement=MeasurementSettings(latency_seconds=1, threads=1)
)


def test_optimize_runs_compares_and_keeps(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(to_yaml(QUICK))
    assert cli.main(["optimize", str(tmp_path / "recipe.yaml")]) == 0
    output = capsys.readouterr().out
    assert "FP32 · PyTorch" in output
    assert "p50 ms" in output
    assert {record.state for record in store.runs()} == {"finished"}
    assert len(store.runs()) == 2
    artifact = Path(output.rsplit("Artifact: ", 1)[1].strip())
    assert (artifact / "model.onnx").exists()
    assert artifact.is_relative_to(data_folder())


@pytest.mark.parametrize(
    ("text", "words"), [(None, "cannot be read"), ("model: nobody", "resnet_fmnist"), ("model: [", "not YAML")]
)
def test_a_wrong_recipe_exits_with_2_and_a_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text)
    assert cli.main(["optimize", str(path)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert store.runs() == []


def test_models_and_runs_are_listed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.enqueue(QUICK)
    assert cli.main(["models"]) == 0
    assert cli.main(["runs"]) == 0
    output = capsys.readouterr().out
    assert "resnet_fmnist" in output
    assert "queued" in output
