"""Torch's global state for one piece of work. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from optimizers.technique import Context


@contextmanager
def torch_state(context: Context) -> Iterator[None]:
    """The context's seed and threads, exact convolutions; everything is as before afterwards."""
    threads = torch.get_num_threads()
    # `enabled` has to be said: left out, these flags would switch cuDNN off.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.random.fork_rng(), exact:
        torch.manual_seed(context.seed)
        torch.set_num_threads(context.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def on_device(network: nn.Module, context: Context) -> nn.Module:
    """A copy of the network on the context's device, in the memory layout that its convolutions run fastest in."""
    moved: nn.Module = copy.deepcopy(network).to(context.device.id, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
