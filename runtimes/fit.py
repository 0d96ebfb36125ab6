"""Reasons for refusing a precision that more than one runtime shares."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from core.bundle import Situation, form_title
from core.devices import Device
from core.errors import CannotCompose
from runtimes.tflite_file import TFLITE_FORMS

_AMPERE = (8, 0)


def why_not_installed(module: str, title: str) -> str | None:
    """One sentence when the module cannot be found, else None; nothing is imported."""
    return None if find_spec(module) else f"{title} is not installed: pip install {module}"


def refuse_fp16_on_cpu(situation: Situation) -> None:
    """Raises `CannotCompose`: CPUs have no fast fp16 arithmetic, so it runs several times slower than fp32."""
    if situation.precision == "fp16" and situation.device.kind == "cpu":
        raise CannotCompose(
            "fp16 on a CPU",
            expected="fp32 or bf16, because CPUs compute fp16 at least four times slower than fp32",
            action="Choose bf16 as the precision, or a GPU as the device",
        )


def refuse_graph(situation: Situation, title: str) -> None:
    """Raises `CannotCompose` for a model that was brought as an ONNX graph: nothing makes a torch module of it."""
    if situation.brought_as == "onnx":
        raise CannotCompose(
            f"a model that is an ONNX file for {title}",
            expected="the network as a torch module",
            action="Choose ONNX Runtime, OpenVINO or TensorRT as the runtime, or add its weights with the name of "
            "their architecture under Bring your own",
        )


def refuse_tflite(situation: Situation, title: str) -> None:
    """Raises `CannotCompose` for a model of Keras or a `.tflite` file: nothing turns it into another runtime's form.

    Once quantized a model of Keras is a `.tflite` file, and is still named as it was brought.
    """
    brought = situation.brought_as
    if situation.form in TFLITE_FORMS:
        raise CannotCompose(
            f"a model {form_title(brought if brought in TFLITE_FORMS else situation.form)} for {title}",
            expected="a runtime that opens .tflite files",
            action="Choose LiteRT or OpenVINO as the runtime",
        )


def refuse_bf16_before_ampere(situation: Situation) -> None:
    """Raises `CannotCompose`: NVIDIA GPUs before Ampere (compute capability 8.0) only emulate bf16."""
    capability = situation.device.compute_capability
    if situation.precision == "bf16" and capability is not None and capability < _AMPERE:
        raise CannotCompose(
            f"bf16 on {situation.device.name}, whose compute capability is {capability[0]}.{capability[1]}",
            expected="8.0 (Ampere) or newer for bf16",
            action="Choose fp16 as the precision",
        )


def why_no_cuda() -> str | None:
    """One sentence where PyTorch is built without GPUs, else None."""
    build = version("torch")
    return f"The installed torch {build} is built for CPUs only" if build.endswith("+cpu") else None


def why_no_compiler(device: Device, title: str) -> str | None:
    """One sentence on what PyTorch's compiler lacks to make kernels for that device, or None."""
    if sys.platform == "win32":
        return f"{title} is offered on Linux and macOS only; on Windows use WSL2"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++")):
        return f"{title} needs a C++ compiler: install g++ (Debian, Ubuntu: apt install g++)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"{title} needs Python's headers: install them (Debian, Ubuntu: apt install python3-dev)"
    if device.kind == "cuda" and find_spec("triton") is None:
        return f"{title} on a GPU needs Triton: pip install triton"
    return None
