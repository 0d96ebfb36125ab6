"""Reports of factorised networks with known spectra."""

from __future__ import annotations

import numpy as np

from core.low_rank import FactorisedLayer, LowRankReport, choose_rank
from core.packed import Packed

POSITIONS = 49


def layer_of(
    name: str, inputs: int, outputs: int, *, decay: float = 0.2, energy: float = 0.9, why_fixed: str = ""
) -> FactorisedLayer:
    """A linear layer with bias whose singular values fall as exp(-decay n), as it is at that energy."""
    spectrum = np.exp(-decay * np.arange(min(inputs, outputs)))
    choice = choose_rank(spectrum, inputs, outputs, energy=energy)
    if why_fixed:
        choice = type(choice)(min(inputs, outputs), 1.0, why_fixed)
    whole = inputs * outputs
    product = whole if choice.why_kept else choice.rank * (inputs + outputs)
    return FactorisedLayer(
        name=name,
        kind="Linear",
        inputs=inputs,
        outputs=outputs,
        rank=choice.rank,
        spectrum=Packed.of(() if why_fixed else spectrum, "<u4", per_unit=1_000_000),
        energy=choice.energy,
        parameters_before=whole + outputs,
        parameters_after=product + outputs,
        macs_before=whole * POSITIONS,
        macs_after=product * POSITIONS,
        why_kept=choice.why_kept,
        is_fixed=bool(why_fixed),
    )


def report_of(*layers: FactorisedLayer, energy: float = 0.9) -> LowRankReport:
    """A report of an activation-aware run; 1,000 parameters and 5,000 MACs lie outside these layers."""
    sums = {
        f"{what}_{when}": rest + sum(getattr(layer, f"{what}_{when}") for layer in layers)
        for what, rest in (("parameters", 1000), ("macs", 5000))
        for when in ("before", "after")
    }
    return LowRankReport(energy=energy, activation_aware=True, images=64, round_to=1, layers=layers, **sums)
