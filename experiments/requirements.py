"""What a program has to have installed, in the versions that its artifact was measured with."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from profiling.machine import Conditions

DISTRIBUTIONS: Mapping[str, str] = {
    "PIL": "pillow",
    "tensorrt_rtx": "tensorrt-rtx",
    "ai_edge_litert": "ai-edge-litert",
}
"""Distributions whose module is not called as they are."""


def requirements_of(program: str, conditions: Conditions) -> tuple[str, ...]:
    """One pin such as `numpy==2.4.6` for each distribution that the Python source imports, in the order of its imports.

    The version is that of the measurement or, where this was not recorded, the one installed here; a local tag such as
    `+cpu` is left out, because only that machine's package index may know it. Without either there is no pin.
    """
    names = dict.fromkeys(_distribution(module, conditions) for module in imported(program))
    return tuple(name + _pin(name, conditions) for name in names)


def imported(program: str) -> list[str]:
    """The top-level modules outside the standard library that Python source imports, each once."""
    found: list[str] = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    names = dict.fromkeys(name.partition(".")[0] for name in found)
    return [name for name in names if name not in sys.stdlib_module_names]


def _distribution(module: str, conditions: Conditions) -> str:
    if module == "onnxruntime" and conditions.device != "cpu":
        return "onnxruntime-gpu"
    return DISTRIBUTIONS.get(module, module)


def _pin(name: str, conditions: Conditions) -> str:
    found = conditions.libraries.get(name) or _installed(name)
    return f"=={found.partition('+')[0]}" if found else ""


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
