"""An exported program as a file. Imports torch: import it inside functions only."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import fx

_HISTORY = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write it without the history of its making, which names files of this machine, and with its graph compressed.

    In a small network the graph is larger than the weights, and several times as large with its history.
    """
    for module in program.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                for key in _HISTORY:
                    node.meta.pop(key, None)
    torch.export.save(program, path)
    plain = path.with_suffix(".plain")
    path.rename(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            method = zipfile.ZIP_DEFLATED if entry.filename.endswith(".json") else zipfile.ZIP_STORED
            target.writestr(entry.filename, source.read(entry), method)
    plain.unlink()
