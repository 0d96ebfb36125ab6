"""Quantization-aware training by TensorFlow's Model Optimization Toolkit, which may keep zeros and clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bridges.keras.data import Images
from bridges.keras.kernels import kernel_of, kernels
from bridges.keras.roundable import roundable
from bridges.keras.training import MODEL, TRAINED_TFLITE, lesson_of, train
from core.data import Floats
from core.progress import Progress, Steps

_RANGES = ("activation_min", "activation_max", "output_min", "output_max")
"""How the toolkit calls the ends of what an activation may be."""
_DECAY = 0.999
"""Of the moving average that these ends are."""
_RANGE_IMAGES = 256
_RANGE_BATCH = 64
_RANGE_PASSES = 4
_ARITHMETIC = ("Multiply", "Subtract", "Maximum", "Minimum")
"""Layers of which the toolkit has no rule, and whose output is all that there is to round."""
KEEPING = ("Conv2D", "Dense")
"""Layers that the toolkit has such variants for."""
_PRUNED = 0.01
"""Share of zeros from which on they are no chance."""
MOST_CLUSTERS = 256
"""Values of a layer that is called clustered: as many as eight bits tell apart."""


def quantize_aware(
    folder: str, *, mean: list[float], std: list[float], plan: Mapping[str, Any], keeps: Mapping[str, bool]
) -> Steps[dict[str, Any]]:
    """Task: train the network in `model.npz` of the folder with rounding; writes `trained.tflite` in INT8 there.

    `keeps` tells whether `zeros` and `clusters` of its layers stay. Input and output of the file are float32. Returns
    what was `kept` of which layer, what was `lost`, because the toolkit keeps nothing in layers of that kind, and which
    BatchNorm layers stood `alone`.
    """
    from bridges.keras.form import read

    lesson = lesson_of(folder, mean, std, plan)
    model = read(Path(folder) / MODEL)
    made = made_in(model, zeros=keeps["zeros"], clusters=keeps["clusters"])
    can = {name for name, layer in kernels(model).items() if type(layer).__name__ in KEEPING}
    kept = {name: what for name, what in made.items() if name in can}
    model, alone = with_rounding(model, kept)
    yield Progress(done=0, total=1, unit="passes", doing="finding the ranges of activations")
    find_ranges(model, lesson.train)
    yield from train(model, lesson)
    yield Progress(done=0, total=1, unit="conversions", doing="converting to LiteRT's format")
    (Path(folder) / TRAINED_TFLITE).write_bytes(
        int8_tflite(model, has_clusters=bool({"clusters", "both"} & {*kept.values()}))
    )
    return {"kept": kept, "lost": {name: what for name, what in made.items() if name not in can}, "alone": [*alone]}


def made_in(model: Any, *, zeros: bool, clusters: bool) -> dict[str, str]:
    """By the name of a layer what was made of it that is asked for: `zeros`, `clusters` or `both`; others are free."""
    found = {
        name: (zeros and has_zeros(weight), clusters and is_clustered(weight))
        for name, layer in kernels(model).items()
        for weight in (kernel_of(layer),)
    }
    words = {(True, False): "zeros", (False, True): "clusters", (True, True): "both"}
    return {name: words[what] for name, what in found.items() if any(what)}


def has_zeros(weight: Floats) -> bool:
    """Whether so many weights are zero that the layer must have been pruned."""
    return bool((weight == 0).mean() >= _PRUNED)


def is_clustered(weight: Floats) -> bool:
    """Whether a layer has so few values, each several times, that it must have been clustered."""
    distinct = len(np.unique(weight))
    return distinct <= MOST_CLUSTERS and 2 * distinct <= weight.size


def with_rounding(model: Any, kept: Mapping[str, str]) -> tuple[Any, tuple[str, ...]]:
    """The network with rounding in every layer, keeping what `kept` says of each. The given model is used up.

    Also the names of the BatchNorm layers that stood alone and are convolutions now.
    """
    from tensorflow_model_optimization.quantization.keras import (
        quantize_annotate_model,
        quantize_apply,
        quantize_scope,
    )

    model, alone = roundable(model)
    with quantize_scope():
        return quantize_apply(quantize_annotate_model(model), scheme_keeping(kept)), alone


def find_ranges(model: Any, images: Images) -> None:
    """Let the ranges of activations begin at the mean of what some batches show, and all else stay as it is.

    The toolkit begins each at -6 to 6 and lets it follow the batches so slowly that a short training would clip what
    lies beyond. What is clipped early hides what comes later, so that a few passes are needed.
    """
    ranges = [end for ends in ranges_of(model) for end in ends]
    moving = {id(each) for each in ranges}
    others = [(each, each.numpy()) for each in model.weights if id(each) not in moving]
    for _ in range(_RANGE_PASSES):
        seen = [_seen(model, x, ranges) for x in images.in_order(_RANGE_BATCH, _RANGE_IMAGES)]
        for each, value in zip(ranges, np.mean(seen, axis=0), strict=True):
            each.assign(value)
    for each, value in others:
        each.assign(value)


def ranges_of(model: Any) -> list[tuple[Any, Any]]:
    """The lower and the upper end of each range of activations, in the order of the network."""
    named = {each.name.partition(":")[0]: each for each in model.non_trainable_weights}
    lows = [name for name in named if name.endswith("_min") and name.endswith(_RANGES)]
    return [(named[low], named[low.removesuffix("_min") + "_max"]) for low in lows]


def _seen(model: Any, x: Floats, ranges: Sequence[Any]) -> Floats:
    """The ends of a batch: what the moving averages must have met to move as they did."""
    before = np.asarray([each.numpy() for each in ranges], np.float64)
    model(x, training=True)
    after = np.asarray([each.numpy() for each in ranges], np.float64)
    return np.asarray((after - _DECAY * before) / (1 - _DECAY), np.float32)


def scheme_keeping(kept: Mapping[str, str]) -> Any:
    """The toolkit's scheme for 8 bits that takes for each layer, by its name, the variant that keeps what is there.

    It also rounds what layers give that only calculate with several inputs, such as Multiply, as it does for Add.
    """
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
        default_8bit_cluster_preserve_quantize_scheme as with_clusters,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
        default_8bit_prune_preserve_quantize_scheme as with_zeros,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs as configs,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_scheme as plain,
    )

    special = {
        "zeros": with_zeros.Default8BitPrunePreserveQuantizeScheme().get_quantize_registry(),
        "clusters": with_clusters.Default8BitClusterPreserveQuantizeScheme(False).get_quantize_registry(),
        "both": with_clusters.Default8BitClusterPreserveQuantizeScheme(True).get_quantize_registry(),
    }

    class ByLayer(registry.Default8BitQuantizeRegistry):  # type: ignore[misc]
        def supports(self, layer: Any) -> bool:
            return type(layer).__name__ in _ARITHMETIC or bool(super().supports(layer))

        def get_quantize_config(self, layer: Any) -> Any:
            if type(layer).__name__ in _ARITHMETIC:
                return configs.Default8BitOutputQuantizeConfig()
            found = special.get(kept.get(layer.name, ""))
            return found.get_quantize_config(layer) if found else super().get_quantize_config(layer)

    class Scheme(plain.Default8BitQuantizeScheme):  # type: ignore[misc]
        def get_quantize_registry(self) -> Any:
            return ByLayer()

    return Scheme()


def int8_tflite(model: Any, *, has_clusters: bool) -> bytes:
    """The trained network in INT8, as a `.tflite` with float32 input and output."""
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import cluster_utils
    from tensorflow_model_optimization.quantization.keras import quantize_scope

    from bridges.keras.converting import converted, converter_of

    if has_clusters:
        with quantize_scope():
            model = cluster_utils.strip_clustering_cqat(model)
    converter = converter_of(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converted(converter)
