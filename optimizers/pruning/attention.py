"""Attention blocks, by whatever names their libraries give to what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

_PROJECTIONS = (
    ("qkv",),
    ("q", "kv"),
    ("q", "k", "v"),
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
)
_HEADS = ("num_heads", "num_attention_heads", "n_heads")
_HEAD_WIDTH = ("head_dim", "attention_head_size")
_WIDTH = ("attn_dim", "all_head_size")


@dataclass(frozen=True, eq=False)
class AttentionBlock:
    """One block that projects tokens to queries, keys and values and shares them out among heads."""

    module: Any
    projections: tuple[nn.Linear, ...]
    """To queries, keys and values, together or apart; queries come first."""

    @property
    def heads(self) -> int:
        """How many there are."""
        count: int = getattr(self.module, _name(self.module, _HEADS))
        return count

    @property
    def width(self) -> int:
        """Dimensions of all heads together."""
        queries = self.projections[0]
        return len(queries.weight) // (3 if queries is getattr(self.module, "qkv", None) else 1)

    def refresh(self, head_width: int | None = None) -> None:
        """Put right, after a cut, what it remembers of its widths, and keep its scores the same.

        Whole heads went where their width is given, the same of every head where it is not.
        """
        if head_width:
            setattr(self.module, _name(self.module, _HEADS), self.width // head_width)
        if name := _name(self.module, _WIDTH):
            setattr(self.module, name, self.width)
        if name := _name(self.module, _HEAD_WIDTH):
            before, after = getattr(self.module, name), self.width // self.heads
            setattr(self.module, name, after)
            if after != before and not self._keeps_its_scale:
                # Scores are divided by the root of the head width: the queries make up for the change.
                for parameter in self.projections[0].parameters():
                    parameter.data[: self.width] *= (after / before) ** 0.5

    @property
    def _keeps_its_scale(self) -> bool:
        """Whether it multiplies scores by a number that was fixed when it was made."""
        fused = getattr(self.module, "fused_attn", False)
        return hasattr(self.module, "scaling") or (hasattr(self.module, "scale") and not fused)


def attentions(network: nn.Module) -> Iterator[AttentionBlock]:
    """The attention blocks of a network whose projections are layers of their own."""
    for module in network.modules():
        if _name(module, _HEADS):
            for names in _PROJECTIONS:
                found = tuple(getattr(module, name, None) for name in names)
                if all(isinstance(layer, nn.Linear) for layer in found):
                    yield AttentionBlock(module, found)  # type: ignore[arg-type]


def heads_by_layer(network: nn.Module) -> dict[nn.Module, int]:
    """Layers that give queries, keys or values, with their number of heads."""
    return {layer: block.heads for block in attentions(network) for layer in block.projections}


def refreshing(network: nn.Module, *, whole_heads: bool) -> Callable[[nn.Module], None]:
    """What puts the blocks of a network right after a cut that took the same of every head, or whole heads."""
    widths = {block.module: block.width // block.heads for block in attentions(network)}

    def refresh(network: nn.Module) -> None:
        for block in attentions(network):
            block.refresh(widths[block.module] if whole_heads else None)

    return refresh


def _name(module: nn.Module, names: tuple[str, ...]) -> str:
    """The first of the names that the module has as a number; empty where it has none."""
    return next((name for name in names if isinstance(getattr(module, name, None), int)), "")
