"""A torch module as an ONNX graph. Imports torch inside its function."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.data import Contract
from core.unsupported import naming_the_operator

if TYPE_CHECKING:
    from torch import nn
    from torch.onnx import ONNXProgram

OPSET = 18


LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators that hold or multiply what is learned: the layers of a network."""
LAYERS_IN_FLOAT = "studio.layers_in_float"
"""Name of a property of quantized models: how many of their layers were left in float on purpose."""


def export_onnx(module: nn.Module, contract: Contract, *, name_layers: bool = False) -> bytes:
    """The serialised graph `input`[batch, C, H, W] -> `logits`[batch, classes], for any batch size.

    With `name_layers` every node of `LAYERS` has the name of its module, `blocks.0.mlp.fc1`, and one without weights
    that name with a number, `blocks.0.attn/0`. The module is exported in eval mode from a copy on the CPU and stays as
    it is. Never call it from two threads at once: the exporter keeps global state.
    """
    program = onnx_program(module, contract)
    model = program.model_proto
    if name_layers:
        _name_layers(model, {name for name, each in module.named_modules() if hasattr(each, "weight")})
    drop_notes(model)
    content: bytes = model.SerializeToString()
    return content


def onnx_program(module: nn.Module, contract: Contract) -> ONNXProgram:
    """What `export_onnx` writes, as the exporter returns it: the graph, and the program of torch it was made from.

    Raises `RunFailed` with the name of an operator that has no translation.
    """
    import torch

    network = copy.deepcopy(module).cpu().eval()
    example = torch.from_numpy(contract.example(2))
    batch = torch.export.Dim("batch", min=1, max=4096)
    untranslated = naming_the_operator(
        "PyTorch's exporter to ONNX", (torch.onnx.OnnxExporterError,), action="Choose PyTorch or torch.compile instead"
    )
    with _quiet(), untranslated, torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["input"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    return program


def drop_notes(model: Any) -> None:
    """The exporter notes where in which file each node was made, and every shape: bytes that no engine reads."""
    model.graph.ClearField("value_info")
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer, model.graph):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _name_layers(model: Any, layers: set[str]) -> None:
    taken: Counter[str] = Counter()
    for node in (node for node in model.graph.node if node.op_type in LAYERS):
        module = _module_of(node)
        node.name = module if module in layers and not taken[module] else f"{module}/{taken[module]}"
        taken[module] += 1


def _module_of(node: Any) -> str:
    """The module a node comes from: by its weight's name where that was kept, else by the exporter's notes."""
    owner, found, _ = node.input[1].rpartition(".weight")
    if found:
        return str(owner)
    notes = {note.key: note.value for note in node.metadata_props}
    scopes: list[str] = ["", "", *ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))]
    return scopes[-2]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
