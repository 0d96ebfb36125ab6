"""Quantization-aware training of a Keras network, which keeps zeros and clusters: QAT, PQAT, CQAT and PCQAT."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from bridges.keras.kernels import fours
from core.bundle import Form, ModelBundle, Situation, TfliteModel
from core.progress import Note, Steps
from core.settings import choice, slider
from core.sparsity import SparseLayer, SparsityReport
from core.tflite_file import TfliteFacts, TfliteFile, facts_of
from optimizers.keras_fit import require_trainable_keras
from optimizers.keras_handover import taken
from optimizers.keras_training import KerasTraining, pattern_of, train_in_tensorflow
from optimizers.technique import Context, Technique

_NAMED = 3
"""Layers that a note names; of more it tells the number."""


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
        "size by four, and the compressed file keeps shrinking by what zeros and repeated values save. The toolkit "
        "keeps them in Conv2D and Dense layers only; in convolutions values repeat within each output channel, which "
        "has a scale of its own. Inference is as fast as after "
        "post-training quantization: what training wins is accuracy. The ranges of activations begin at what a few "
        "batches show. Sources: Jacob et al. 2017, [arXiv:1712.05877](https://arxiv.org/abs/1712.05877), and the "
        "toolkit's guides to [quantization-aware training]"
        "(https://www.tensorflow.org/model_optimization/guide/quantization/training) and to [combining techniques]"
        "(https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization)."
    )
    pays: ClassVar[str] = (
        "post-training INT8 loses visibly, or zeros and clusters are to be kept: after both (PCQAT) the Keras sample's "
        "file, compressed, took 7 % of FP32's bytes and lost 1.45 points."
    )
    pays_not: ClassVar[str] = (
        "post-training INT8 loses nothing measurable, as on the Keras sample: training then made no measurable "
        "difference to accuracy or speed."
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
        "compressed file grows again. Only Conv2D and Dense layers can keep them.",
    )

    def label(self) -> str:
        """`QAT INT8`, and what is given up; `label_after` knows what is kept."""
        return "QAT INT8" if self.preserve else "QAT INT8, nothing kept"

    def label_after(self, earlier: Collection[str]) -> str:
        """`PQAT INT8` after pruning, `CQAT INT8` after clustering, `PCQAT INT8` after both, where they are kept."""
        keeps = self._keeps(earlier)
        return "P" * keeps["zeros"] + "C" * keeps["clusters"] + self.label()

    def _keeps(self, earlier: Collection[str]) -> dict[str, bool]:
        """Whether zeros and clusters are held, by the keys of the techniques before it."""
        return {
            "zeros": self.preserve and "keras_pruning" in earlier,
            "clusters": self.preserve and "keras_clustering" in earlier,
        }

    def check(self, situation: Situation) -> Situation:
        """The situation as a `.tflite` file in INT8. Raises `CannotCompose` and `Unavailable`."""
        action = "Choose post-training quantization, which needs none"
        require_trainable_keras(situation, self.key, self.title, action, quantizes=True)
        return replace(situation, form="tflite", precision="int8", applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network as a `.tflite` file in INT8 with float32 input and output."""
        plan = self.plan(self.epochs, self.learning_rate, context.seed)
        arguments = {"plan": plan, "keeps": self._keeps(bundle.applied)}
        done = yield from train_in_tensorflow("qat:quantize_aware", bundle, context, arguments)
        network = TfliteModel(taken(context.folder / "trained.tflite"))
        yield Note(text=f"{form_of_training(done['kept'])}: {_told(facts_of(network.content), done['kept'])}")
        if done["alone"]:
            yield Note(text=_what_stood_alone(done["alone"]))
        if done["lost"]:
            yield Note(text=_what_was_lost(done["lost"]), warning=True)
        return replace(
            bundle,
            network=network,
            precision="int8",
            applied=(*bundle.applied, self.key),
            sparsity=_recounted(bundle.sparsity, network.content) if _keep(done["kept"], "zeros") else None,
        )


def form_of_training(kept: Mapping[str, str]) -> str:
    """`PCQAT` where zeros and clusters are kept in some layer, by what is kept in which (`bridges.keras.qat`)."""
    return "P" * _keep(kept, "zeros") + "C" * _keep(kept, "clusters") + "QAT"


def _keep(kept: Mapping[str, str], what: str) -> bool:
    return bool({what, "both"} & {*kept.values()})


def _told(facts: TfliteFacts, kept: Mapping[str, str]) -> str:
    weights = [each for each in facts.weights if each.dtype == "int8"]
    count = sum(each.count for each in weights)
    sentence = f"{count:,} weights in {len(weights)} layers are INT8"
    if _keep(kept, "zeros"):
        sentence += f", {100 * sum(each.zeros for each in weights) / count:.1f} % of them zero"
    # Only dense layers have one scale for all their weights: where each channel has its own, values differ by it.
    dense = [each.distinct for each in facts.weights if each.operator == "FULLY_CONNECTED"]
    if dense and _keep(kept, "clusters"):
        sentence += f"; the fullest dense layer has {max(dense)} different values"
    return f"{sentence}."


def _what_stood_alone(names: Sequence[str]) -> str:
    some = ", ".join(f"`{name}`" for name in names[:_NAMED]) + f" and {len(names) - _NAMED:,} more" * (
        len(names) > _NAMED
    )
    return (
        f"BatchNorm that merges with no layer before it cannot be rounded as such: {some}. Here it was trained, and "
        "ships, as a depthwise 1x1 convolution that computes the same, with the statistics that it had."
    )


def _what_was_lost(lost: Mapping[str, str]) -> str:
    words = {"zeros": "zeros", "clusters": "clusters", "both": "zeros and clusters"}
    layers = ", ".join(f"`{name}` ({words[what]})" for name, what in lost.items())
    return (
        "Not everything that was made before is kept: TensorFlow's toolkit keeps zeros and clusters in Conv2D and "
        f"Dense layers only, and lets go of those in {layers}."
    )


def _recounted(report: SparsityReport | None, content: bytes) -> SparsityReport | None:
    """The report with the zeros that are in the file, without the layers that are not found in it."""
    file = TfliteFile(content)
    tensors = {name: index for _, index in file.weights() for name in re.findall(r"/quant_([^/;]+)", file.name(index))}
    found = [(layer, tensors[layer.name]) for layer in (report.layers if report else ()) if layer.name in tensors]
    layers = tuple(_layer_in_file(layer, file, index) for layer, index in found)
    return report.model_copy(update={"layers": layers, "pattern": pattern_of(layers)}) if report and layers else None


def _layer_in_file(layer: SparseLayer, file: TfliteFile, index: int) -> SparseLayer:
    weights = np.asarray(file.values(index)).reshape(file.shape(index))
    blocks, with_pattern = fours(np.moveaxis(weights, -1, 1))
    zeros = int((weights == 0).sum())  # zero points of weights are zero
    return layer.model_copy(update={"zeros": zeros, "blocks": blocks, "blocks_with_pattern": with_pattern})
