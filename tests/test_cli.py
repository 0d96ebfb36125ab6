from __future__ import annotations

from pathlib import Path

import pytest

import cli
from experiments.folders import data_folder
from experiments.recipe import MeasurementSettings, Recipe, to_yaml
from experiments.store import Store
from tests.experiments.synthetic import finish_with

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


def leave_variants(store: Store) -> None:
    baseline = Recipe(model="resnet_fmnist")
    finish_with(store, baseline, wrong=range(60), median_ms=4.0, size_bytes=4000)
    int8 = baseline.model_copy(update={"runtime": "onnxruntime", "name": "Quick"})
    finish_with(store, int8, wrong=range(60), median_ms=1.0, size_bytes=1000)


def test_a_report_is_written_to_a_file(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_variants(store)
    path = tmp_path / "report.html"
    options = ["--price", "3.6", "--currency", "EUR", "--title", "Mine", "--settings", "cpu,1,0"]
    assert cli.main(["report", "resnet_fmnist", str(path), *options]) == 0
    assert "Quick is" in capsys.readouterr().out
    html = path.read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in html
    assert "€3.60 per hour" in html


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vit_fmnist", "report.html"], "No run of vit_fmnist has finished"),
        (["resnet_fmnist", "report.html", "--settings", "cpu,8,0"], "expected cpu,1,0"),
        (["resnet_fmnist", "report.html", "--recommend", "nobody"], "The run nobody"),
        (["resnet_fmnist", "report.html", "--price", "-1"], "0 or more"),
        (["resnet_fmnist", "nowhere/report.html"], "cannot be written"),
        (["resnet_fmnist", "report.html", "--most", "1"], "beside the baseline"),
    ],
)
def test_a_report_that_cannot_be_says_why(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    leave_variants(store)
    assert cli.main(["report", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.glob("*.html")) == []
