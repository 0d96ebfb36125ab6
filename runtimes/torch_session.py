"""What PyTorch serves with: a callable network on a device, run eagerly or compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from core.bundle import Precision
from core.data import Floats, Inputs
from core.errors import Unavailable
from runtimes.compiling import compiling
from runtimes.cuda import WARM_UPS, graphed, no_graph_on_cpu, staged

if TYPE_CHECKING:
    import torch


class TorchSession:
    warm_ups = 1
    """Calls with one batch size after which nothing is left to compile or to record for it."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device, threads: int) -> None:
        self._network, self._device, self._threads = network, device, threads
        self._stack = ExitStack()

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`."""
        return self._device.type

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        import torch

        with torch.inference_mode():
            logits: Floats = self._network(torch.tensor(x, device=self._device)).cpu().numpy()
        return logits

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x, which lies on the device already; returns once the device has finished."""
        import torch

        with torch.inference_mode():  # a tensor made outside it would be compiled for anew
            bound = torch.tensor(x, device=self._device)
        is_cuda = self._device.type == "cuda"

        def infer() -> None:
            with torch.inference_mode():
                self._network(bound)
            if is_cuda:
                torch.cuda.synchronize(self._device)

        return infer

    def stages(self, x: Inputs) -> Callable[[], tuple[float, float, float, float]] | None:
        """ms to the device, computing, back, and launching, of one inference on x; None on a CPU."""
        return staged(self._network, x, self._device) if self._device.type == "cuda" else None

    def bind_graph(self, x: Inputs) -> Callable[[], None]:
        """Like `bind`, replayed as a CUDA graph. Raises `Unavailable` on a CPU or for what cannot be recorded."""
        if self._device.type != "cuda":
            raise no_graph_on_cpu()
        return graphed(self._network, x, self._device)

    def __enter__(self) -> TorchSession:
        self._stack.enter_context(torch_threads(self._threads))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch's CPU threads inside the block; before and after it, as they were."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class SelfGraphedSession(TorchSession):
    """What replays CUDA graphs by itself: its logits lie where the next call will put its own.

    `run` has copied them by then. Each call is told that the one before is done with, as the compiler otherwise may
    keep the memory of both.
    """

    warm_ups = WARM_UPS

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device, threads: int) -> None:
        import torch

        def infer(x: torch.Tensor) -> torch.Tensor:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return network(x)

        super().__init__(infer, device, threads)

    def bind_graph(self, x: Inputs) -> Callable[[], None]:
        """Raises `Unavailable`: a graph cannot be recorded while another is replayed."""
        raise Unavailable(
            "This compile mode replays CUDA graphs of its own",
            expected="the compile mode Default, or Max autotune without CUDA graphs",
            action="Measure without a CUDA graph: what is measured then is one",
        )


class FixedShapeSession(TorchSession):
    """Compiles for each batch size by itself, with its weights packed."""

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
        threads: int,
        *,
        precision: Precision = "int8",
    ) -> None:
        super().__init__(network, device, threads)
        self._precision: Precision = precision
        self._sizes: set[int] = set()

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]; a smaller batch than one seen is filled up with zeros."""
        import numpy as np

        size = min((size for size in self._sizes if size >= len(x)), default=len(x))
        self._get_ready(size, x)
        filled = np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
        return super().run(filled)[: len(x)]

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x, compiled for."""
        self._get_ready(len(x), x)
        return super().bind(x)

    def _get_ready(self, size: int, like: Inputs) -> None:
        import numpy as np

        if size not in self._sizes:
            with compiling(self._precision, "cpu", freeze=True):
                super().run(np.zeros((size, *like.shape[1:]), like.dtype))
            self._sizes.add(size)


def compile_now(session: TorchSession, example: torch.Tensor, sizes: Sequence[int], precision: Precision) -> None:
    """Compile while opening for inputs like the example[N, ...], in these batch sizes.

    PyTorch keeps different code for one image and for several.
    """
    one = example[:1].cpu().numpy()
    with session, compiling(precision, session.device_kind):
        for size in sizes:
            for _ in range(session.warm_ups):
                session.run(one.repeat(size, axis=0))
