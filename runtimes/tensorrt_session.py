"""A TensorRT engine, opened to serve. Needs an NVIDIA GPU; torch lends it memory and streams."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from core.data import Floats, Inputs
from core.devices import Device
from core.errors import BadInput, RunFailed, Unavailable
from runtimes.cuda import graphed, staged
from runtimes.runtime import Artifact
from runtimes.tensorrt_facts import read_facts, refuse_elsewhere
from runtimes.tensorrt_module import keeping_log, load, module_name, on_gpu, words

if TYPE_CHECKING:
    import torch


def open_engine(artifact: Artifact, device: Device) -> tuple[Any, Any]:
    """The module and the engine on that GPU.

    Raises `Unavailable` where its module is not installed, and for an engine of another GPU or version.
    """
    facts = read_facts(artifact.folder)
    trt = load(facts.module if facts else module_name())
    if facts:
        refuse_elsewhere(facts, device, trt.__version__)
    with on_gpu(device):
        log = keeping_log(trt)
        engine = trt.Runtime(log).deserialize_cuda_engine(artifact.main_file.read_bytes())
    if engine is None:
        said = f": {words(log.errors[-1])}" if log.errors else ""
        raise Unavailable(
            f"{artifact.main_file.name} does not open on {device.name}{said}",
            expected=f"an engine built there by {trt.__name__} {trt.__version__}",
            action="Run the recipe again on this GPU",
        )
    return trt, engine


class TensorRtSession:
    """One engine and one context on one GPU, which is the current one whenever it works."""

    allocates_past_torch = True
    """The engine's weights and scratch memory; only inputs and outputs are torch's."""

    def __init__(self, engine: Any, device: Device) -> None:
        self._device = device
        with on_gpu(device):
            self._engine, self._context = engine, engine.create_execution_context()
        self.largest_batch: int = engine.get_tensor_profile_shape("input", 0)[2][0]
        """The most images that it takes at once."""

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]. Raises `BadInput` for more images than it takes at once."""
        logits: Floats = self._infer(self._placed(x)).cpu().numpy()
        return logits

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x, which lies on the device already; returns once the device has finished."""
        import torch

        bound = self._placed(x)

        def infer() -> None:
            self._infer(bound)
            torch.cuda.synchronize(bound.device)

        return infer

    def stages(self, x: Inputs) -> Callable[[], tuple[float, float, float, float]]:
        """ms to the device, computing, back, and launching, of one inference on x."""
        import torch

        self._refuse_too_many(x)
        return staged(self._infer, x, torch.device(self._device.id))

    def bind_graph(self, x: Inputs) -> Callable[[], None]:
        """Like `bind`, replayed as a CUDA graph; until the session serves another batch size."""
        import torch

        self._refuse_too_many(x)
        return graphed(self._infer, x, torch.device(self._device.id))

    def _placed(self, x: Inputs) -> torch.Tensor:
        import torch

        self._refuse_too_many(x)
        return torch.tensor(x, device=self._device.id)

    def _refuse_too_many(self, x: Inputs) -> None:
        if len(x) > self.largest_batch:
            raise BadInput(
                f"a batch of {len(x)} images",
                expected=f"at most {self.largest_batch}, which the engine was built for",
                action="Raise the largest batch under the engine's settings, or measure at a smaller one",
            )

    def _infer(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.cuda.device(x.device):
            self._context.set_input_shape("input", tuple(x.shape))
            y = torch.empty(tuple(self._context.get_tensor_shape("logits")), device=x.device)
            self._context.set_tensor_address("input", x.data_ptr())
            self._context.set_tensor_address("logits", y.data_ptr())
            if not self._context.execute_async_v3(torch.cuda.current_stream(x.device).cuda_stream):
                raise RunFailed("TensorRT refused to run the engine", action="Choose another runtime")
        return y

    def __enter__(self) -> TensorRtSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._context, self._engine
