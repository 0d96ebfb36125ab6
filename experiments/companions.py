"""What lies beside every artifact, so that it can be used without the studio."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from core.bundle import ModelBundle
from experiments import models
from experiments.contract_file import CONTRACT_FILE, SAMPLES_FILE, TOKENIZER_FILE, contract_fields

SAMPLE_COUNT = 16
"""Test examples that travel with an artifact, so that its sample code has something to run on."""


def write_companions(bundle: ModelBundle, folder: Path) -> None:
    """What an artifact needs beside it to be used: its input contract, a few real examples, and a text's tokenizer."""
    fields = contract_fields(bundle.contract)
    if not bundle.judging.has_labels:
        fields["right"] = bundle.judging.right  # what the sample code calls the answers that it counts
    (folder / CONTRACT_FILE).write_text(json.dumps(fields, indent=1))
    samples = bundle.data.test.take(SAMPLE_COUNT)
    np.savez_compressed(folder / SAMPLES_FILE, pixels=samples.pixels, labels=samples.targets)
    if bundle.task == "text":
        shutil.copyfile(models.tokenizer(bundle.key), folder / TOKENIZER_FILE)
