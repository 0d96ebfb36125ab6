"""A session served by replaying a CUDA graph: what is left when the host no longer launches every operation."""

from __future__ import annotations

from collections.abc import Callable

from core.data import Floats, Inputs
from core.errors import Unavailable
from profiling.subject import Graphable, Subject


class Replayed:
    """A subject whose bound inference is a CUDA graph, to be measured like any other.

    `bind` raises `Unavailable` where the session cannot do that, with the reason.
    """

    def __init__(self, session: Subject) -> None:
        self._session = session

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W], without a graph."""
        return self._session.run(x)

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One replay on x, already in place; returns only when the device has finished."""
        if not isinstance(self._session, Graphable):
            raise Unavailable(
                "This runtime does not record CUDA graphs", expected="PyTorch or TensorRT", action="Measure without one"
            )
        return self._session.bind_graph(x)
