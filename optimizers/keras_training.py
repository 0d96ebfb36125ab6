"""How techniques train in TensorFlow: settings they share, and the way there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.bundle import KerasModel, ModelBundle
from core.progress import Steps
from core.settings import choice, slider
from core.sparsity import Pattern, SchedulePoint, SparseLayer, SparsityReport
from optimizers.keras_handover import handed_over, taken
from optimizers.technique import Context


class KerasTraining(BaseModel):
    """Settings of the training loop in TensorFlow; a technique adds its own epochs and learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = slider(
        64,
        low=1,
        high=512,
        step=1,
        title="Training batch",
        unit="images",
        help="Images per training step. Small batches take more steps per epoch; large ones need more memory.",
        group="Training",
    )
    schedule: Literal["cosine", "constant"] = choice(
        "cosine",
        title="Learning rate over time",
        help="Cosine falls from the learning rate to zero along a half wave, which lets the weights settle. Constant "
        "keeps it throughout.",
        labels={"cosine": "Cosine", "constant": "Constant"},
        group="Training",
    )
    augmentation: Literal["none", "mirror", "shift"] = choice(
        "mirror",
        title="Augmentation",
        help="What is done to training images so that none is seen twice alike. Choose none where left and right "
        "matter, as with letters and digits.",
        labels={"none": "None", "mirror": "Mirror", "shift": "Mirror and shift"},
        group="Training",
    )

    def plan(self, epochs: int, learning_rate: float, seed: int) -> dict[str, Any]:
        """The fields of `bridges.keras.training.Plan`."""
        settings = {name: getattr(self, name) for name in KerasTraining.model_fields}
        return {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, **settings}


def train_in_tensorflow(
    task: str, bundle: ModelBundle, context: Context, arguments: Mapping[str, Any]
) -> Steps[dict[str, Any]]:
    """What a task of `bridges.keras` returns that trains the bundle's network; what it wrote lies in the folder."""
    with handed_over(bundle, context.folder) as given:
        return (yield from ask(TENSORFLOW, f"bridges.keras.{task}", {**given, **arguments}))


def trained_bundle(bundle: ModelBundle, context: Context, key: str, **changes: Any) -> ModelBundle:
    """The bundle with the float network that a task left in the folder, whose files are deleted."""
    network = KerasModel(taken(context.folder / "trained.npz"), taken(context.folder / "trained.tflite"))
    return replace(bundle, network=network, applied=(*bundle.applied, key), **changes)


def sparse_layers(layers: list[dict[str, Any]]) -> tuple[SparseLayer, ...]:
    """What `bridges.keras.kernels.counted` counted, as the report has it."""
    return tuple(SparseLayer(**{name: layer[name] for name in layer if name != "distinct"}) for layer in layers)


def sparsity_report(layers: list[dict[str, Any]], method: str, schedule: list[list[float]]) -> SparsityReport:
    """What became zero."""
    found = sparse_layers(layers)
    points = tuple(SchedulePoint(step=int(step), sparsity=sparsity) for step, sparsity in schedule)
    return SparsityReport(pattern=pattern_of(found), method=method, layers=found, schedule=points)


def pattern_of(layers: Sequence[SparseLayer]) -> Pattern:
    """2:4 where every layer that was worked on has it, if it can."""
    worked_on = [layer for layer in layers if not layer.why_dense and layer.blocks]
    return "2:4" if worked_on and all(layer.has_pattern for layer in worked_on) else "scattered"
