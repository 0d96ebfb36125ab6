"""Techniques that no setting can make fit a place."""

from __future__ import annotations

from typing import ClassVar, Literal

import pytest

from core.bundle import Situation
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.progress import Steps
from core.settings import choice, slider
from experiments.checking import check
from experiments.fitting import why_unfit
from experiments.recipe import Recipe
from optimizers import TECHNIQUES
from optimizers.technique import Context, Technique
from runtimes import RUNTIMES
from runtimes.pytorch import PyTorch
from sample_models import MODELS

CPU = Device("cpu", "cpu", "A CPU", 2**30, cpu_flags=frozenset({"avx2"}))
MODEL = "resnet_fmnist"


class Picky(Technique):
    """Fits only where its method is `b`, or where it has no epochs."""

    key: ClassVar[str] = "picky"
    title: ClassVar[str] = "Picky"
    summary: ClassVar[str] = ""
    learn: ClassVar[str] = ""
    wants: ClassVar[str] = "b"

    method: Literal["a", "b"] = choice("a", title="Method", help="")
    epochs: int = slider(3, low=0, high=5, step=1, title="Epochs", help="")
    careful: bool = choice(True, title="Careful", help="")

    def check(self, situation: Situation) -> Situation:
        """The same situation."""
        if self.wants not in (self.method, str(self.epochs), str(self.careful)):
            raise CannotCompose(f"Picky with {self.method}")
        return situation

    def apply(self, bundle: object, context: Context) -> Steps[object]:  # type: ignore[override]
        """Nothing."""
        raise NotImplementedError


@pytest.mark.parametrize("wants", ["b", "0", "False", "a"])
def test_one_setting_that_fits_is_enough(wants: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TECHNIQUES, "picky", Picky)
    monkeypatch.setattr(Picky, "wants", wants)
    assert why_unfit("picky", MODEL, RUNTIMES["pytorch"], CPU) is None


def test_where_none_fits_the_reason_is_that_of_the_usual_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TECHNIQUES, "picky", Picky)
    monkeypatch.setattr(Picky, "wants", "c")
    assert why_unfit("picky", MODEL, RUNTIMES["pytorch"], CPU) == "Picky with a."


def test_the_runtime_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TECHNIQUES, "picky", Picky)
    monkeypatch.setattr(Picky, "wants", "a")

    def refuse(runtime: object, situation: Situation) -> None:
        raise CannotCompose("the engine says no")

    monkeypatch.setattr(PyTorch, "check", refuse)
    assert why_unfit("picky", MODEL, RUNTIMES["pytorch"], CPU) == "the engine says no."


def test_what_only_another_runtime_or_a_gpu_can_do_is_unfit_with_the_reason() -> None:
    assert "eager PyTorch" in str(why_unfit("int8", MODEL, RUNTIMES["pytorch"], CPU))
    assert "PyTorch as the runtime" in str(why_unfit("simulated", MODEL, RUNTIMES["onnxruntime"], CPU))
    assert "bf16" in str(why_unfit("mixed_precision", "efficientnet_lite0", RUNTIMES["pytorch"], CPU))
    assert why_unfit("mixed_precision", MODEL, RUNTIMES["pytorch"], CPU) is None, "it can be fine-tuned in FP32"


@pytest.mark.parametrize("key", list(TECHNIQUES))
@pytest.mark.parametrize("model", list(MODELS))
def test_what_a_recipe_takes_as_it_is_is_never_unfit(key: str, model: str) -> None:
    from core.devices import find_device

    device = find_device("cpu")
    for runtime, engine in RUNTIMES.items():
        if engine.why_unavailable(device):
            continue
        try:
            check(Recipe(model=model, techniques=(TECHNIQUES[key](),), runtime=runtime))
        except (CannotCompose, Unavailable):
            continue
        assert why_unfit(key, model, RUNTIMES[runtime], device) is None


def test_without_training_images_pruning_still_fits_and_distillation_does_not() -> None:
    models = [key for key, model in MODELS.items() if not model.dataset.train]
    for model in models:
        assert why_unfit("structured_pruning", model, RUNTIMES["onnxruntime"], CPU) is None
        assert "training images" in str(why_unfit("distillation", model, RUNTIMES["onnxruntime"], CPU))
    assert models


def test_a_technique_for_networks_of_pytorch_asks_a_model_of_keras_for_one() -> None:
    """And not for an ONNX file, which cannot be pruned either."""
    reason = why_unfit("structured_pruning", "keras_cnn_fmnist", RUNTIMES["litert"], CPU) or ""
    assert "expected a model of PyTorch" in reason
    assert "ONNX" not in reason
