"""PyTorch to LiteRT. Runs in the environment of LiteRT Torch, and imports it inside its function.

Source: https://github.com/google-ai-edge/litert-torch
"""

from __future__ import annotations

from typing import Any

from core.progress import Progress, Steps


def convert(program: str, out: str) -> Steps[dict[str, Any]]:
    """Write an exported program that takes x[N, C, H, W], a file of `torch.export`, as a `.tflite` of x[N, H, W, C].

    In float32 and for the batch that the program was exported with. Returns nothing but the size in bytes. The file
    has to come from the studio itself: reading one can run code.
    """
    yield Progress(done=0, total=1, unit="networks", doing="converting to LiteRT")
    import litert_torch
    import torch

    class ChannelsLast(torch.nn.Module):
        """The same network for images as LiteRT wants them."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> Any:
            return self.network(images.permute(0, 3, 1, 2))

    litert_torch.config.show_progress = False
    exported = torch.export.load(program)
    (given,), _ = exported.example_inputs
    model = litert_torch.convert(ChannelsLast(exported.module()), (torch.zeros_like(given.permute(0, 2, 3, 1)),))
    model.export(out)
    yield Progress(done=1, total=1, unit="networks", doing="converting to LiteRT")
    return {"bytes": len(model.model_content())}
