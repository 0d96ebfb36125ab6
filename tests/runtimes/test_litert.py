"""LiteRT serves networks of Keras and .tflite files; OpenVINO opens the very same file."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.bundle import KerasModel, ModelBundle, Situation, TfliteModel
from core.data import DataSplits, InputContract, Split
from core.devices import Device
from core.errors import CannotCompose
from core.progress import Note
from experiments.fidelity import compare_with_source
from runtimes import RUNTIMES, Artifact, EngineSettings, runtime_of
from runtimes.litert import LiteRt, LiteRtSettings
from runtimes.openvino_ import OpenVino, OpenVinoSettings
from runtimes.sample_code import MOST_LINES
from tests.core.tflite_graphs import dense
from tests.optimizers.conftest import events_and_result

DATA = Path(__file__).parent / "data"
KNOWN = np.load(DATA / "tflite.npz")
X = np.ascontiguousarray(KNOWN["images"].transpose(0, 3, 1, 2))
CPU = Device("cpu", "cpu", "An old CPU", 1 << 30)


def bundle_of(content: bytes, precision: str = "fp32") -> ModelBundle:
    """A file and images for it, whose contract leaves them as they are."""
    contract = InputContract(3, 12, 10, (0.0,) * 3, (1.0,) * 3, tuple("abcde"))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 12, 10), np.uint8)
    split = Split(pixels, np.zeros((20, 1), np.int64))
    return ModelBundle("tiny", "cnn", TfliteModel(content), contract, DataSplits(split, split, split), precision)


def pooled() -> ModelBundle:
    return bundle_of((DATA / "pooled.tflite").read_bytes())


@pytest.mark.parametrize("key", ["litert", "openvino"])
@pytest.mark.parametrize("name", ["pooled", "flattened"])
def test_both_engines_serve_the_file_as_it_is(key: str, name: str, cpu: Device, tmp_path: Path) -> None:
    content = (DATA / f"{name}.tflite").read_bytes()
    artifact = RUNTIMES[key].export(bundle_of(content), tmp_path)
    assert (artifact.files, artifact.main_file.read_bytes()) == (("model.tflite",), content)
    with RUNTIMES[key].open(artifact, cpu, threads=1) as session:
        largest = getattr(session, "largest_batch", len(X))
        answers = np.concatenate([session.run(X[start : start + largest]) for start in range(0, len(X), largest)])
        session.bind(X[:1])()
    np.testing.assert_allclose(answers, KNOWN[name], atol=1e-4)
    assert largest == (1 if name == "flattened" else len(X))


def test_of_keras_the_conversion_is_exported(tmp_path: Path) -> None:
    keras = replace(pooled(), network=KerasModel(b"weights", b"converted"))
    for key in ("litert", "openvino"):
        assert RUNTIMES[key].export(keras, tmp_path).main_file.read_bytes() == b"converted"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (LiteRtSettings(), "pooled"),
        (LiteRtSettings(kernels="own"), "pooled"),
        (LiteRtSettings(kernels="reference"), "flattened"),
        (OpenVinoSettings(), "pooled"),
        (OpenVinoSettings(hint="throughput", streams=1), "flattened"),
    ],
)
def test_the_program_runs_alone(settings: EngineSettings, name: str, tmp_path: Path) -> None:
    kind = LiteRt if isinstance(settings, LiteRtSettings) else OpenVino
    bundle = bundle_of((DATA / f"{name}.tflite").read_bytes())
    artifact = kind(settings).export(bundle, tmp_path)
    pixels = bundle.data.test.pixels[:6]
    with runtime_of(artifact).open(artifact, CPU, threads=1) as session:
        best = [int(session.run(each[None].astype(np.float32)).argmax()) for each in pixels]
    lines = program(artifact, pixels, np.array(best), tmp_path)
    assert [line.split(" (")[0] for line in lines[:-1]] == [
        f"{place}: {'abcde'[each]}" for place, each in enumerate(best)
    ]
    assert lines[-1] == "100.0% of 6 images right"


def program(artifact: Artifact, pixels: np.ndarray, labels: np.ndarray, folder: Path) -> list[str]:
    """What the program says, in a process of its own."""
    code = runtime_of(artifact).sample_code(artifact)
    assert len(code.splitlines()) <= MOST_LINES
    (folder / "run.py").write_text(code)
    contract = {"shape": (3, 12, 10), "mean": (0, 0, 0), "std": (1, 1, 1), "labels": list("abcde")}
    (folder / "contract.json").write_text(json.dumps(contract))
    np.savez(folder / "samples.npz", pixels=pixels, labels=labels)
    done = subprocess.run([sys.executable, "-I", "run.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_program_for_integers_rounds_and_widens(tmp_path: Path) -> None:
    ends = {"x": {"dtype": "INT8", "scale": 2.0, "zero_point": -100}, "w": {"scale": 0.5}, "b": {"scale": 1.0},
            "y": {"dtype": "INT8", "scale": 0.25, "zero_point": 4}}  # fmt: skip
    (tmp_path / "model.tflite").write_bytes(dense(np.int8([[1, 2, 0]]), np.int32([3]), **ends))
    names: dict[str, object] = {"np": np}
    code = LiteRt(LiteRtSettings()).sample_code(Artifact("litert", "int8", tmp_path, ("model.tflite",)))
    body = code[code.index("interpreter = ") : code.index("def pixels")]
    exec("import os\nfrom pathlib import Path\nfrom ai_edge_litert.interpreter import Interpreter", names)
    exec(f"HERE = Path({str(tmp_path)!r})\n{body}", names)
    x = np.float32([[2, 4, 6], [6, 2, 0]])
    expected = x @ np.float32([[0.5], [1.0], [0.0]]) + 3
    np.testing.assert_allclose(names["logits"](x), expected)  # type: ignore[operator]


def test_settings_and_refusals() -> None:
    assert LiteRtSettings().label() == ""
    assert LiteRtSettings(kernels="own").label() == "without XNNPACK"
    keras = Situation("cnn", 1, 2, CPU, "openvino", form="keras")
    for settings in (OpenVinoSettings(file="onnx"), OpenVinoSettings(weights="fp16")):
        with pytest.raises(CannotCompose, match=r"the \.tflite file itself"):
            OpenVino(settings).check(keras)
    for key in ("litert", "openvino"):
        RUNTIMES[key].check(keras)
        RUNTIMES[key].check(replace(keras, form="tflite", precision="int8"))
    assert "NVIDIA" in (RUNTIMES["litert"].why_unavailable(replace(CPU, kind="cuda")) or "")


def test_a_model_of_keras_is_named_as_it_was_brought_also_once_it_is_quantized() -> None:
    quantized = Situation("cnn", 1, 2, CPU, "pytorch", form="tflite", precision="int8")
    for brought, named in (("keras", "of Keras"), ("tflite", "that is a .tflite file"), ("torch", "that is a .tflite")):
        with pytest.raises(CannotCompose, match=f"a model {named}.* for PyTorch"):
            RUNTIMES["pytorch"].check(replace(quantized, brought_as=brought))


def test_the_profile_is_of_the_kernels_that_it_was_exported_for(tmp_path: Path) -> None:
    for kernels, first in (("xnnpack", "Convolution (NHWC, F32) IGEMM"), ("own", "CONV_2D")):
        runtime = LiteRt(LiteRtSettings(kernels=kernels))
        found = runtime.profile(runtime.export(pooled(), tmp_path), CPU, threads=1, x=X[:1])
        assert found.layers[0].op == first


@pytest.mark.parametrize("key", ["litert", "openvino"])
def test_a_file_is_the_same_model_in_both_engines(key: str, tmp_path: Path) -> None:
    bundle = pooled()
    artifact = RUNTIMES[key].export(bundle, tmp_path)
    with RUNTIMES[key].open(artifact, CPU, threads=1) as session:
        events, found = events_and_result(compare_with_source(session, bundle, artifact, CPU, threads=1))
    assert (found.images, found.agreement, found.differs) == (20, 1, False)
    assert [each for each in events if isinstance(each, Note)] == []


@pytest.mark.parametrize(("key", "together"), [("litert", 1), ("openvino", 2)])
def test_the_weights_that_were_spoilt_are_named(key: str, together: int, tmp_path: Path) -> None:
    """OpenVINO does not show what each layer makes, and names those between two results that it shows."""
    bundle = pooled()
    artifact = RUNTIMES[key].export(bundle, tmp_path)
    content = bytearray(artifact.main_file.read_bytes())
    from core.tflite_file import TfliteFile

    weights = TfliteFile(bytes(content)).values(5)
    assert weights is not None
    place = bytes(content).index(weights.tobytes())
    content[place : place + weights.nbytes] = (1.5 * weights).astype(np.float32).tobytes()
    artifact.main_file.write_bytes(bytes(content))
    with RUNTIMES[key].open(artifact, CPU, threads=1) as session:
        found = events_and_result(compare_with_source(session, bundle, artifact, CPU, threads=1))[1]
    assert found.differs
    assert found.divergence
    assert "functional_1/conv2d_1/convolution" in found.divergence.layers
    assert len(found.divergence.layers) == together
