"""What an engine's own parser says of a network, operator by operator."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class OperatorSupport(BaseModel):
    """One kind of operator in the graph."""

    model_config = ConfigDict(frozen=True)

    op: str
    """Its name in ONNX: `Conv`."""
    count: int
    """How many nodes of it the graph has."""
    refused: tuple[str, ...] = ()
    """Names of the nodes that the parser refuses."""
    reason: str = ""
    """The parser's words on the first of them."""


class Compatibility(BaseModel):
    """Every kind of operator, the refused ones first."""

    model_config = ConfigDict(frozen=True)

    parser: str
    """Who was asked, with its version: `tensorrt_rtx 1.7.1`."""
    operators: tuple[OperatorSupport, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the parser takes the whole graph."""
        return not any(each.refused for each in self.operators)
