"""Requirements are what a program imports, in the versions that were measured."""

from __future__ import annotations

from importlib.metadata import version

from core.devices import find_device
from experiments.requirements import imported, requirements_of
from profiling.machine import Conditions, conditions

PROGRAM = """
import json
import sys
from pathlib import Path

import numpy as np
import torch.export.passes
import torchao.quantization.pt2e
from PIL import Image
"""


def measured(**changes: object) -> Conditions:
    return conditions(find_device("cpu"), threads=1, seed=0).model_copy(update=changes)


def test_only_what_is_imported_and_not_pythons_own() -> None:
    assert imported(PROGRAM) == ["numpy", "torch", "torchao", "PIL"]


def test_pins_are_the_measured_versions_without_local_tags_or_else_the_installed_ones() -> None:
    found = requirements_of(PROGRAM, measured(libraries={"torch": "9.8.7+cpu", "numpy": "1.2.3"}))
    pillow, torchao = version("pillow"), version("torchao").partition("+")[0]
    assert found == ("numpy==1.2.3", "torch==9.8.7", f"torchao=={torchao}", f"pillow=={pillow}")


def test_the_gpu_build_of_onnx_runtime_is_another_distribution() -> None:
    libraries = {"onnxruntime-gpu": "1.2.3", "onnxruntime": "4.5.6", "tensorrt-rtx": "1.0"}
    program = "import onnxruntime\nimport tensorrt_rtx as tensorrt"
    on_cpu = requirements_of(program, measured(libraries=libraries))
    assert on_cpu == ("onnxruntime==4.5.6", "tensorrt-rtx==1.0")
    assert requirements_of(program, measured(libraries=libraries, device="cuda:0"))[0] == "onnxruntime-gpu==1.2.3"


def test_what_nobody_knows_the_version_of_has_no_pin() -> None:
    assert requirements_of("import nowhere_to_be_found", measured()) == ("nowhere_to_be_found",)
