"""Quantization-aware training of a Keras network, which keeps zeros and clusters: QAT, PQAT, CQAT and PCQAT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from core.bundle import Form, ModelBundle, Situation, TfliteModel
from core.progress import Note, Steps
from core.settings import choice, slider
from core.tflite_file import TfliteFacts, facts_of
from optimizers.keras_fit import require_trainable_keras
from optimizers.keras_training import KerasTraining, train_in_tensorflow
from optimizers.technique import Context, Technique


class KerasQuantizationAware(KerasTraining, Technique):
    """Trains with rounding, keeping what earlier steps made, and ends as a `.tflite` file in INT8."""

    key: ClassVar[str] = "keras_qat"
    title: ClassVar[str] = "Quantization-aware training (TensorFlow)"
    summary: ClassVar[str] = (
        "Trains a Keras network with rounding switched on, keeps zeros and clusters, and ends as an INT8 LiteRT file."
    )
    takes: ClassVar[tuple[Form, ...]] = ("keras",)
    learn: ClassVar[str] = (
        "Every layer rounds its weights and what it passes on to the grid of 8 bits, in the forward pass alone; the "
        "gradient passes as if nothing had been rounded. After a few epochs the weights lie where rounding hurts "
        "little, and the converter writes them as integers. **After pruning** the zeros are held (PQAT), **after "
        "clustering** the clusters (CQAT), **after both** clusters and zeros (PCQAT): quantization then divides the "
        "size by four, and the compressed file keeps shrinking by what zeros and repeated values save. In convolutions "
        "values repeat within each output channel, which has a scale of its own. Inference is as fast as after "
        "post-training quantization: what training wins is accuracy. The ranges of activations begin at what a few "
        "batches show. Sources: Jacob et al. 2017, [arXiv:1712.05877](https://arxiv.org/abs/1712.05877), and the "
        "toolkit's guides to [quantization-aware training]"
        "(https://www.tensorflow.org/model_optimization/guide/quantization/training) and to [combining techniques]"
        "(https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization)."
    )

    epochs: int = slider(
        2,
        low=1,
        high=50,
        step=1,
        title="Training",
        unit="epochs",
        help="Passes over the training images with rounding switched on. A few suffice.",
    )
    learning_rate: float = slider(
        0.0001,
        low=0.00001,
        high=0.01,
        step=0.00001,
        title="Learning rate",
        help="The highest one while training. Weights only have to move a little.",
    )
    preserve: bool = choice(
        True,
        title="Keep zeros and clusters",
        help="After pruning, zeros stay zero; after clustering, weights of one cluster stay alike. Switched off, the "
        "compressed file grows again.",
    )

    def label(self) -> str:
        """`QAT INT8`, which behind pruned or clustered in a title is PQAT, CQAT or PCQAT."""
        return "QAT INT8" if self.preserve else "QAT INT8, nothing kept"

    def form_of_training(self, applied: tuple[str, ...]) -> str:
        """`PCQAT` after pruning and clustering, as far as they are kept."""
        kept = "P" * ("keras_pruning" in applied) + "C" * ("keras_clustering" in applied)
        return f"{kept if self.preserve else ''}QAT"

    def check(self, situation: Situation) -> Situation:
        """The situation as a `.tflite` file in INT8. Raises `CannotCompose` and `Unavailable`."""
        require_trainable_keras(situation, self.key, self.title, "Choose post-training quantization, which needs none")
        return replace(situation, form="tflite", precision="int8", applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network as a `.tflite` file in INT8 with float32 input and output."""
        keeps = {
            "zeros": self.preserve and "keras_pruning" in bundle.applied,
            "clusters": self.preserve and "keras_clustering" in bundle.applied,
        }
        arguments = {"plan": self.plan(self.epochs, self.learning_rate, context.seed), "keeps": keeps}
        yield from train_in_tensorflow("qat:quantize_aware", bundle, context, arguments)
        network = TfliteModel((context.folder / "trained.tflite").read_bytes())
        yield Note(text=f"{self.form_of_training(bundle.applied)}: {_told(facts_of(network.content), keeps)}")
        return replace(
            bundle,
            network=network,
            precision="int8",
            applied=(*bundle.applied, self.key),
            sparsity=bundle.sparsity if keeps["zeros"] else None,
        )


def _told(facts: TfliteFacts, keeps: dict[str, Any]) -> str:
    weights = [each for each in facts.weights if each.dtype == "int8"]
    count = sum(each.count for each in weights)
    sentence = f"{count:,} weights in {len(weights)} layers are INT8"
    if keeps["zeros"]:
        sentence += f", {100 * sum(each.zeros for each in weights) / count:.1f} % of them zero"
    if keeps["clusters"]:
        sentence += f"; the fullest dense layer has {_most_values(facts)} different values"
    return f"{sentence}."


def _most_values(facts: TfliteFacts) -> int:
    """Of layers with one scale for all their weights: where each channel has its own, values differ by it."""
    return max((each.distinct for each in facts.weights if each.operator == "FULLY_CONNECTED"), default=0)
