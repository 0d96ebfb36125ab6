"""Weight clustering by TensorFlow's Model Optimization Toolkit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bridges.keras.kernels import Which, chosen, counted, kernel_of, kernels, wrapped, zeros_held
from bridges.keras.training import MODEL, Watch, lesson_of, save, train
from core.errors import NothingDone, RunFailed
from core.progress import Steps

_FEWEST_FOR_ZEROS = 3
"""Clusters, where one of them is kept for zero."""


@dataclass(frozen=True)
class Wish:
    """How many values shall be left in each layer, and where they begin."""

    clusters: int
    start: Literal["linear", "density", "kmeans"]
    keeps_zeros: bool
    """Whether what is exactly zero stays so, also in layers that are left out; one of the clusters is zero then."""
    layers: Which
    keep_ends: bool


def cluster(
    folder: str, *, mean: list[float], std: list[float], plan: Mapping[str, Any], wish: Mapping[str, Any]
) -> Steps[dict[str, Any]]:
    """Task: cluster the network in `model.npz` of the folder and train its centroids; writes what `fine_tune` writes.

    `wish` has the fields of `Wish`. Returns the `layers` as `counted` does, and which of them were `clustered`. Raises
    `NothingDone`, and `RunFailed` where a layer has more values than it should.
    """
    from bridges.keras.form import read

    asked, lesson = Wish(**wish), lesson_of(folder, mean, std, plan)
    model = read(Path(folder) / MODEL)
    names = _with_more_values(model, chosen(model, asked.layers, keep_ends=asked.keep_ends), asked.clusters)
    zeros = {name: int((kernel_of(layer) == 0).sum()) for name, layer in kernels(model).items()}
    model = wrapped(model, names, lambda layer: clusterable(layer, asked, keeps_zeros=bool(zeros[layer.name])))
    others = zeros.keys() - {*names} if asked.keeps_zeros else ()
    yield from train(model, lesson, Watch(after_step=zeros_held(model, others)))
    model = stripped(model)
    layers = counted(model, names, "It was left out, or had no more values before.")
    _check(layers, names, zeros, asked)
    save(model, folder)
    return {"layers": layers, "clustered": names}


def clusterable(layer: Any, wish: Wish, *, keeps_zeros: bool) -> Any:
    """The layer in the toolkit's wrapper, which gives each weight the value of its nearest centroid."""
    from tensorflow_model_optimization.clustering.keras import CentroidInitialization, cluster_weights
    from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import (
        cluster_weights as cluster_keeping,
    )

    start = {
        "linear": CentroidInitialization.LINEAR,
        "density": CentroidInitialization.DENSITY_BASED,
        "kmeans": CentroidInitialization.KMEANS_PLUS_PLUS,
    }[wish.start]
    if wish.keeps_zeros and keeps_zeros:
        return cluster_keeping(layer, max(_FEWEST_FOR_ZEROS, wish.clusters), start, preserve_sparsity=True)
    return cluster_weights(layer, wish.clusters, start)


def stripped(model: Any) -> Any:
    """The network without the wrappers, its weights the values of their centroids."""
    from tensorflow_model_optimization.clustering.keras import strip_clustering

    return strip_clustering(model)


def _with_more_values(model: Any, names: list[str], clusters: int) -> list[str]:
    """Those that have more values than asked for. Raises `NothingDone` where no layer has."""
    found = kernels(model)
    left = [name for name in names if len(np.unique(kernel_of(found[name]))) > clusters]
    if not left:
        raise NothingDone(
            f"No chosen layer has more than {clusters} different weights",
            action="Choose fewer clusters or other layers, or leave out clustering",
        )
    return left


def _check(layers: list[dict[str, Any]], names: list[str], zeros: Mapping[str, int], wish: Wish) -> None:
    for layer in layers:
        keeps = wish.keeps_zeros and zeros[layer["name"]]
        most = max(_FEWEST_FOR_ZEROS, wish.clusters) if keeps else wish.clusters
        if layer["name"] in names and layer["distinct"] > most:
            raise RunFailed(
                f"The layer `{layer['name']}` has {layer['distinct']} different weights after clustering",
                expected=f"at most {most}",
                action="Choose another start of the clusters",
            )
        if keeps and layer["zeros"] < zeros[layer["name"]]:
            raise RunFailed(
                f"Of {zeros[layer['name']]:,} zeros in the layer `{layer['name']}`, {layer['zeros']:,} are left",
                expected="all of them, because pruned weights were to stay zero",
                action="Choose another start of the clusters",
            )
