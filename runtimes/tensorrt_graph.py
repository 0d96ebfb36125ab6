"""The ONNX graph that a TensorRT engine is built from; its precision is the engine's."""

from __future__ import annotations

import ast
import io
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle import ModelBundle, OnnxGraph
from core.data import Contract
from runtimes.onnx_file import onnx_bytes
from runtimes.tensorrt_module import EXTRA_OF, RTX, module_name

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from torch import nn


def why_no_bf16() -> str | None:
    """One sentence on why no bf16 graph can be made here, or None; imports nothing."""
    if find_spec("modelopt") is None:
        command = EXTRA_OF[module_name() or RTX].command
        return f"bf16 for TensorRT needs ModelOpt, which is not installed: {command}"
    return None


def graph_of(bundle: ModelBundle) -> bytes:
    """The bundle's network as a graph that computes in the bundle's precision.

    FP16 is exported from a network lowered in torch: that very network was looked through for overflow, the modules
    that stay in float32 are in it, and engines come out the same size as from ModelOpt's AutoCast. For bf16 torch's
    exporter leaves weights that it merged with a BatchNorm in float32 beside inputs in bf16, which TensorRT refuses;
    there AutoCast lowers the float32 graph.
    """
    if bundle.precision == "bf16" and not isinstance(bundle.network, OnnxGraph):
        return in_bf16(bundle.module, bundle.contract)
    return onnx_bytes(bundle, bundle.precision)


def in_bf16(module: nn.Module, contract: Contract) -> bytes:
    """The network as a graph that computes in bf16 between float32 ends, by ModelOpt's AutoCast.

    Nodes of modules that `core.reduced.in_float32` marked stay in float32. Source:
    https://nvidia.github.io/Model-Optimizer/guides/8_autocast.html
    """
    import numpy as np

    from core.onnx_export import onnx_program
    from core.reduced import float32_modules
    from runtimes.lowering import lowered

    model = onnx_program(lowered(module, "fp32"), contract).model_proto
    kept = nodes_of(model, float32_modules(module))
    with tempfile.TemporaryDirectory() as folder, _silent():
        from modelopt.onnx.autocast import convert_to_mixed_precision

        path = Path(folder, "float32.onnx")
        path.write_bytes(model.SerializeToString())
        converted = convert_to_mixed_precision(
            onnx_path=str(path),
            low_precision_type="bf16",
            nodes_to_exclude=[f"^{re.escape(name)}$" for name in kept],
            data_max=np.inf,  # bf16 has float32's range: nothing has to stay for its size
            init_max=np.inf,
            keep_io_types=True,
        )
    content: bytes = converted.SerializeToString()
    return content


def nodes_of(model: ModelProto, modules: Sequence[str]) -> list[str]:
    """Names of the nodes that come from these modules: by the exporter's notes, and by whose weight they read."""
    from core.reduced import is_inside

    return [
        node.name
        for node in model.graph.node
        if any(is_inside(name, each) for name in _owners(node) for each in modules)
    ]


def _owners(node: NodeProto) -> list[str]:
    notes = {note.key: note.value for note in node.metadata_props}
    scopes: list[str] = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    of_weights = [owner for owner, found, _ in (each.rpartition(".weight") for each in node.input) if found]
    return [*filter(None, scopes[:-1]), *of_weights]  # the last scope is the operation's own name


@contextmanager
def _silent() -> Iterator[None]:
    """ModelOpt prints and logs much."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)
