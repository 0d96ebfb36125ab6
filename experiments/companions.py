"""What lies beside every artifact, so that it can be used without the studio."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from core.bundle import ModelBundle

SAMPLE_COUNT = 16
"""Test images that travel with an artifact, so that its sample code has something to run on."""


def write_companions(bundle: ModelBundle, folder: Path) -> None:
    """What an artifact needs beside it to be used: its input contract and a few real images."""
    contract = {"shape": bundle.contract.shape, **asdict(bundle.contract)}
    for part_of_shape in ("channels", "height", "width"):
        del contract[part_of_shape]
    (folder / "contract.json").write_text(json.dumps(contract, indent=1))
    samples = bundle.data.test.take(SAMPLE_COUNT)
    np.savez_compressed(folder / "samples.npz", pixels=samples.pixels, labels=samples.targets)
