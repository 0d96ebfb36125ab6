"""Every layer of a profile as one table: what it is, what it takes, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from core.anatomy import Anatomy
from core.layers import FUSED, Layer, LayerProfile
from experiments.module_tree import module_paths, modules_of
from experiments.profile import ProfileResult
from experiments.roofline import BOUNDS, placed_in, rate_of

KINDS = {"compute": "multiplies", "conversion": "converts", "other": "other"}
CSV = {
    "place": "place",
    "module": "module",
    "name": "name in the engine",
    "op": "operation",
    "kind": "does",
    "time_ms": "time (ms)",
    "share": "share of the layers' time",
    "macs": "multiply-accumulates",
    "parameters": "parameters",
    "output_bytes": "output (bytes)",
    "output_shape": "output shape",
    "precision": "precision executed",
    "macs_per_s": "attained (multiply-accumulates/s)",
    "attained": "share of the ceiling",
    "bound": "bound",
}
"""How the columns are called in a file, units included."""


def layer_table(result: ProfileResult) -> pd.DataFrame:
    """One row a layer in the order of execution, columns as in `CSV`; what is not known is NaN or empty.

    `module` has those that the engine made into one layer or, for an operation without any, the innermost module around
    it as in `module_paths`; it is empty for an operation of the network itself.
    `macs` and `output_bytes` are of the whole batch. `parameters` are those of the layer's modules before the engine
    rewrote them, each counted once; NaN without an anatomy.
    """
    layers = result.layers.layers
    bounds = placed_in(result)
    total_ms = result.layers.layers_ms
    frame = pd.DataFrame(
        {
            "place": range(1, len(layers) + 1),
            "module": _modules(result.layers, result.anatomy),
            "name": [layer.name for layer in layers],
            "op": [layer.op for layer in layers],
            "kind": [KINDS[layer.kind] for layer in layers],
            "time_ms": [layer.time_ms for layer in layers],
            "share": [layer.time_ms / total_ms if total_ms else 0.0 for layer in layers],
            "macs": [layer.macs for layer in layers],
            "parameters": _parameters(result.layers, result.anatomy),
            "output_bytes": [layer.output_bytes for layer in layers],
            "output_shape": [_shape(layer) for layer in layers],
            "precision": [layer.precision for layer in layers],
            "macs_per_s": pd.Series([rate_of(layer) for layer in layers], dtype=float),
            "attained": pd.Series([each.attained for each in bounds] if bounds else np.nan, dtype=float),
            "bound": [BOUNDS[each.bound] for each in bounds] if bounds else "",
        },
        index=range(len(layers)),
    )
    return frame[list(CSV)]


def filtered(
    frame: pd.DataFrame,
    *,
    words: str = "",
    kinds: Sequence[str] = (),
    precisions: Sequence[str] = (),
    bounds: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows whose module, name or operation holds the words, in any case, and that are of one of each; all where
    empty."""
    kept = pd.Series(True, index=frame.index)
    if words := words.strip():
        kept &= _holds(frame.module, words) | _holds(frame.name, words) | _holds(frame.op, words)
    for column, wanted in (("kind", kinds), ("precision", precisions), ("bound", bounds)):
        if wanted:
            kept &= frame[column].isin(wanted)
    return frame[kept]


def _holds(texts: pd.Series[str], words: str) -> pd.Series[bool]:
    return texts.str.contains(words, case=False, regex=False)


def _shape(layer: Layer) -> str:
    return " × ".join(map(str, layer.output_shape)) if layer.output_shape else ""


def _modules(profile: LayerProfile, anatomy: Anatomy | None) -> list[str]:
    around = module_paths(profile, anatomy)
    own = modules_of(profile, anatomy)
    return [FUSED.join(names) or ".".join(path) for names, path in zip(own, around, strict=True)]


def _parameters(profile: LayerProfile, anatomy: Anatomy | None) -> pd.Series[float]:
    """Of the modules that each layer is made of; a module that is in several layers counts in the first that multiplies
    or, where none does, in the first."""
    layers = profile.layers
    if anatomy is None:
        return pd.Series(np.nan, index=range(len(layers)), dtype=float)
    counts = {module.name: module.parameters for module in anatomy.modules}
    names, found = modules_of(profile, anatomy), [0.0] * len(layers)
    for place in sorted(range(len(layers)), key=lambda place: layers[place].kind != "compute"):
        found[place] = float(sum(counts.pop(name, 0) for name in names[place]))
    return pd.Series(found, dtype=float)
