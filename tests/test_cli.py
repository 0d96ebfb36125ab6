from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path

import pytest

import cli
from core.folders import data_folder
from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import to_yaml
from experiments.recording import read
from experiments.run_record import RunRecord
from experiments.store import Store
from experiments.training_on import is_control
from runtimes import RUNTIMES
from runtimes.tensorrt_ import TensorRtSettings
from tests.experiments import tflite_runs
from tests.experiments.synthetic import finish_with
from tests.pages.left_behind import finished

QUICK = Recipe(
    model="student_dw_fmnist",
    runtime="onnxruntime",
    measurement=MeasurementSettings(latency_seconds=1, sweep_seconds=0, threads=1),
)


@pytest.mark.usefixtures("shared_probes")
def test_optimize_runs_compares_and_keeps(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.3)
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


@pytest.mark.parametrize(("ends", "code"), [("failed", 1), ("cancelled", 130)])
def test_a_variant_that_finished_is_shown_though_its_control_did_not(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ends: str, code: int
) -> None:
    asked = tflite_runs.recipe(("keras_pruning", {}))

    def work(_: Store, record: RunRecord, __: object) -> None:
        if not is_control(record.recipe):
            store.finish(record.id, tflite_runs.result(record.recipe))
        elif ends == "failed":
            store.fail(record.id, "The loss is not finite")
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "check", lambda _: None)
    monkeypatch.setattr(cli, "execute", work)
    assert cli.optimize(asked) == code
    captured = capsys.readouterr()
    made = next(record for record in store.runs() if record.recipe.digest == asked.digest)
    assert captured.out.rstrip().endswith(str(Path(made.id) / "artifact"))
    assert asked.title in captured.out.rsplit("p50 ms", 1)[1]
    assert "The comparison lacks a run that did not finish.\nFine-tuned 5 epochs" in captured.err
    assert ("The loss is not finite" if ends == "failed" else "cancelled") in captured.err


def test_without_the_variant_there_is_no_comparison(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tflite_runs.recipe(("keras_pruning", {}))

    def work(_: Store, record: RunRecord, __: object) -> None:
        if record.recipe.techniques:
            store.fail(record.id, "No memory left")
        else:
            store.finish(record.id, tflite_runs.result(record.recipe))

    monkeypatch.setattr(cli, "check", lambda _: None)
    monkeypatch.setattr(cli, "execute", work)
    assert cli.optimize(asked) == 1
    captured = capsys.readouterr()
    assert "p50 ms" not in captured.out
    assert "No memory left" in captured.err
    assert "lacks" not in captured.err
    assert len(store.runs()) == 2


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs tensorrt_rtx")
def test_what_is_built_ahead_is_told_operator_by_operator(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(model="student_dw_fmnist", runtime="tensorrt", engine=TensorRtSettings(build_for="SM89"))
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    assert cli.main(["optimize", str(tmp_path / "recipe.yaml")]) == 0
    output = capsys.readouterr().out
    assert "  Conv " in output
    assert "has not been run here" in output
    assert Path(output.rsplit("Engine: ", 1)[1].strip()).exists()


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


def test_a_package_is_written_and_how_to_use_it_is_printed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = finished(store, QUICK)
    out = tmp_path / "model.zip"
    assert cli.main(["package", run_id, str(out), "--server"]) == 0
    output = capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist()}
        assert f"{folder}/serve.py" in archive.namelist()
        assert not any("model_repository" in name for name in archive.namelist())
    assert f"python -m zipfile -e model.zip .\ncd {folder}\n" in output
    assert hashlib.sha256(out.read_bytes()).hexdigest() in output
    assert "python serve.py" in output


def test_a_package_that_cannot_be_says_why(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id, unfinished = finished(store, QUICK), store.enqueue(QUICK)
    for run, out, words in [
        ("nobody", "model.zip", "There is no run nobody"),
        (unfinished, "model.zip", "expected a finished run"),
        (run_id, "nowhere/model.zip", "cannot be written"),
    ]:
        assert cli.main(["package", run, str(tmp_path / out)]) == 2
        assert words in capsys.readouterr().err
    assert list(tmp_path.glob("*.zip*")) == []


def test_the_truth_is_printed_for_every_runtime(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    finished(store, QUICK, p50_ms=2)
    assert cli.main(["truth", QUICK.model, "--show", "latency"]) == 0
    output = capsys.readouterr().out
    assert all(runtime.title in output for runtime in RUNTIMES.values())
    assert "1.999 ms" in output
    for arguments, words in ((["vit_fmnist"], "No run of vit_fmnist"), ([QUICK.model, "--show", "x"], "accuracy")):
        assert cli.main(["truth", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_a_run_is_kept_as_a_recording(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = finished(store, QUICK)
    path = tmp_path / "run.json.gz"
    assert cli.main(["record", run_id, str(path)]) == 0
    assert "Recorded on A CPU, 2026-11-01" in capsys.readouterr().out
    assert read(path).run_id == run_id
    for wrong, words in (([run_id, "run.zip"], "ends with .json.gz"), (["nobody", "run.json.gz"], "no run nobody")):
        assert cli.main(["record", *wrong]) == 2
        assert words in capsys.readouterr().err
    assert cli.main(["recordings"]) == 0
