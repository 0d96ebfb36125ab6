"""Weight clustering of a Keras network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from core.bundle import Form, ModelBundle, Situation
from core.errors import CannotCompose
from core.progress import Note, Steps
from core.settings import choice, slider
from optimizers.keras_fit import require_trainable_keras
from optimizers.keras_training import KerasTraining, sparse_layers, train_in_tensorflow, trained_bundle
from optimizers.technique import Context, Technique

_FEWEST_BESIDE_ZERO = 3


class KerasClustering(KerasTraining, Technique):
    """Lets the weights of each layer share a few values."""

    key: ClassVar[str] = "keras_clustering"
    title: ClassVar[str] = "Weight clustering (TensorFlow)"
    summary: ClassVar[str] = (
        "Lets all weights of a layer share a few values; shrinks the compressed file, not the time."
    )
    takes: ClassVar[tuple[Form, ...]] = ("keras",)
    learn: ClassVar[str] = (
        "Each layer gets a few centroids, 16 for instance, and each of its weights takes the value of the nearest one. "
        "Training then moves the centroids by the sum of their weights' gradients, and weights may change sides. "
        "**Neither the .tflite file gets smaller nor inference faster**: LiteRT stores and multiplies every weight in "
        "full. But numbers that repeat *compress* well: with 16 values a weight carries 4 bits instead of 32. After "
        "pruning, one of the centroids can be kept at zero, so that both savings add up; quantization-aware training "
        "can then keep the clusters (CQAT), or clusters and zeros (PCQAT). Depthwise convolutions are left as they "
        "are. Sources: Han et al. 2015, *Deep Compression*, [arXiv:1510.00149](https://arxiv.org/abs/1510.00149), and "
        "[the toolkit's guide](https://www.tensorflow.org/model_optimization/guide/clustering)."
    )
    pays: ClassVar[str] = (
        "files are stored or sent compressed: with 16 values a layer the Keras sample's file, compressed, took 17 % of "
        "FP32's bytes, with nothing measurable lost."
    )
    pays_not: ClassVar[str] = (
        "speed or memory is wanted: LiteRT multiplies every weight in full, and the file itself stays as large."
    )

    clusters: int = slider(
        16,
        low=2,
        high=256,
        step=1,
        title="Clusters",
        unit="values per layer",
        help="How many different weights each layer keeps. 16 is often nearly free; fewer compress better.",
    )
    start: Literal["linear", "density", "kmeans"] = choice(
        "kmeans",
        title="Where centroids begin",
        help="Linear: evenly between the smallest and the largest weight. Density: more where more weights are. "
        "k-means++: drawn from the weights, far from each other.",
        labels={"linear": "Linear", "density": "Density", "kmeans": "k-means++"},
    )
    epochs: int = slider(
        2,
        low=1,
        high=50,
        step=1,
        title="Training",
        unit="epochs",
        help="Passes over the training images in which the centroids move. A few suffice.",
    )
    learning_rate: float = slider(
        0.0001,
        low=0.00001,
        high=0.01,
        step=0.00001,
        title="Learning rate",
        help="The highest one while training. Centroids gather the gradients of all their weights: keep it low.",
    )
    preserve: bool = choice(
        True,
        title="Keep zeros",
        help="After pruning, weights that are zero stay zero and one cluster is spent on them. Switched off, pruning "
        "may be undone.",
    )
    layers: Literal["all", "convolutions", "dense"] = choice(
        "all",
        title="Layers",
        help="Which kind of layer is clustered. Depthwise convolutions never are: each of their few weights matters.",
        labels={"all": "All", "convolutions": "Only convolutions", "dense": "Only dense layers"},
        advanced=True,
    )
    keep_ends: bool = choice(
        False,
        title="Leave out the first and the last layer",
        help="The layer that reads the image and the one that names the class hold few weights, and each of them "
        "matters more.",
        advanced=True,
    )

    def label(self) -> str:
        """`16 clusters`."""
        return f"{self.clusters} clusters"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose` and `Unavailable`."""
        require_trainable_keras(situation, self.key, self.title, "Leave out clustering, which trains its centroids")
        if self._keeps(situation.applied) and self.clusters < _FEWEST_BESIDE_ZERO:
            raise CannotCompose(
                f"{self.clusters} clusters for a pruned network",
                expected=f"at least {_FEWEST_BESIDE_ZERO}, because one of them is zero",
                action="Choose more clusters, or do not keep the zeros",
            )
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with few values in each layer. Raises `NothingDone` where all had no more before."""
        keeps = self._keeps(bundle.applied)
        wish = self.model_dump(include={"clusters", "start", "layers", "keep_ends"}) | {"keeps_zeros": keeps}
        arguments = {"plan": self.plan(self.epochs, self.learning_rate, context.seed), "wish": wish}
        done = yield from train_in_tensorflow("clustering:cluster", bundle, context, arguments)
        yield _told(done, keeps)
        report = bundle.sparsity and (
            bundle.sparsity.model_copy(update={"layers": sparse_layers(done["layers"])}) if keeps else None
        )
        return trained_bundle(bundle, context, self.key, sparsity=report)

    def _keeps(self, applied: tuple[str, ...]) -> bool:
        return self.preserve and "keras_pruning" in applied


def _told(done: dict[str, Any], keeps: bool) -> Note:
    clustered = [layer for layer in done["layers"] if layer["name"] in done["clustered"]]
    most = max(layer["distinct"] for layer in clustered)
    zeros = sum(layer["zeros"] for layer in clustered) / sum(layer["weights"] for layer in clustered)
    kept = f", and {100 * zeros:.1f} % of their weights are zero" if keeps else ""
    return Note(
        text=f"At most {most} different weights are left in each of {len(clustered)} layers{kept}. The compressed file "
        "shrinks; LiteRT computes no faster."
    )
