"""PyTorch's exported program (`.pt2`), served eagerly or through torch.compile."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from core.bundle import Form, ModelBundle, Precision, Situation
from core.data import Floats
from core.devices import Device
from core.errors import CannotCompose
from core.layers import LayerProfile
from core.settings import choice
from core.torchao_import import import_torchao, import_x86_quantizer
from runtimes.compiling import QUANTIZED, compiling, has_fixed_shapes
from runtimes.cuda import graphed, no_graph_on_cpu, staged
from runtimes.fit import refuse_bf16_before_ampere, refuse_fp16_on_cpu, why_not_installed
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import sample_code

if TYPE_CHECKING:
    import torch

_FILE = "model.pt2"


class PyTorchSettings(EngineSettings):
    """How images and weights lie in memory."""

    layout: Literal["channels_last", "contiguous"] = choice(
        "channels_last",
        title="Memory layout",
        help="Channels last keeps the channels of a pixel together, which suits the fast kernels of convolutions; "
        "contiguous keeps each channel together, as PyTorch does unasked.",
        labels={"channels_last": "Channels last", "contiguous": "Contiguous"},
    )


class CompileSettings(PyTorchSettings):
    """What the compiler is asked to try."""

    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = choice(
        "default",
        title="Compile mode",
        help="Default compiles fastest. Reduce overhead records CUDA graphs on a GPU, so that the host launches one "
        "thing per call. Max autotune times several kernels for each product and keeps the fastest: minutes.",
        labels={
            "default": "Default",
            "reduce-overhead": "Reduce overhead",
            "max-autotune": "Max autotune",
            "max-autotune-no-cudagraphs": "Max autotune, no CUDA graphs",
        },
    )


@dataclass(frozen=True)
class PyTorch:
    """The exported program run by PyTorch itself."""

    settings: PyTorchSettings

    @property
    def compiles(self) -> bool:
        """Whether its compiler makes kernels of the program when it is opened."""
        return isinstance(self.settings, CompileSettings)

    @property
    def key(self) -> str:
        """Its place in the registry."""
        return "torch_compile" if self.compiles else "pytorch"

    @property
    def title(self) -> str:
        """Its name on screen."""
        return "torch.compile" if self.compiles else "PyTorch"

    @property
    def summary(self) -> str:
        """One line: what it is and when to choose it."""
        return (
            "PyTorch's compiler fuses operations into generated code: faster calls after a build of seconds to minutes."
            if self.compiles
            else "The exported program, one operation at a time: works everywhere, the usual point of reference."
        )

    @property
    def requirements(self) -> tuple[str, ...]:
        """Distributions that the sample code needs."""
        return ("torch", "torchao", "numpy", "pillow")

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        return (
            why_not_installed("torch", "PyTorch")
            or (_why_no_cuda() if device.kind == "cuda" else None)
            or (_why_no_compiler(device) if self.compiles else None)
        )

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for another form than PyTorch's, and for a precision that it would not compute in."""
        if situation.form != "torch":
            raise CannotCompose(
                f"a graph in {_FORMS[situation.form]} form for {self.title}",
                expected="a PyTorch module",
                action="Choose the runtime that the network was quantized for, or leave out that step",
            )
        if situation.precision == "int8" and not self.compiles and "weight_only" not in situation.applied:
            raise CannotCompose(
                f"fixed INT8 grids for {self.title}",
                expected="an engine that multiplies integers, because eager PyTorch would compute the rounded values "
                "in float",
                action="Choose torch.compile, ONNX Runtime or OpenVINO as the runtime",
            )
        refuse_fp16_on_cpu(situation)
        refuse_bf16_before_ampere(situation)

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.pt2`, for any batch size, and beside it the linear layers that a GPU can serve as 2:4 sparse."""
        import torch

        from runtimes.lowering import DTYPES, lowered
        from runtimes.pt2_file import save_program

        # What is quantized is exported as it is.
        module = lowered(bundle.module, bundle.precision if bundle.precision in DTYPES else "fp32")
        if bundle.precision in QUANTIZED:
            import_torchao()
            from torchao.utils import unwrap_tensor_subclass

            module = unwrap_tensor_subclass(module)
        beside = _prepare_fours(module, folder) if bundle.sparsity and bundle.sparsity.pattern == "2:4" else ()
        example = torch.zeros(2, *bundle.contract.shape)
        batch = torch.export.Dim("batch", min=1)
        with torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
        save_program(program, folder / _FILE)
        return Artifact(self.key, bundle.precision, folder, (_FILE, *beside), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session; with torch.compile, already compiled for a batch of one and for any of 16 or more.

        With fixed INT8 grids every batch size is compiled for by itself, in the session, before it is first served.
        Loading a `.pt2` can run code that it contains: open only what `export` wrote.
        """
        import torch

        program, network = _load(artifact, device)
        place = torch.device(device.id)
        if not self.compiles:
            return _TorchSession(network, place, threads)
        _, *shape = program.example_inputs[0][0].shape
        if has_fixed_shapes(artifact.precision, device):
            session: _TorchSession = _FixedShapeSession(torch.compile(network, dynamic=False), place, threads)
            sizes: tuple[int, ...] = (1,)
        else:
            session, sizes = _TorchSession(torch.compile(network), place, threads), (1, 16)
        _compile_now(session, shape, sizes, artifact.precision)
        return session

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Floats) -> LayerProfile:
        """Each operation's time on x[N, C, H, W], or each compiled kernel's, which are then compiled anew."""
        import torch

        from runtimes.layers_compiled import profile_compiled
        from runtimes.layers_pytorch import profile_eager

        _, network = _load(artifact, device)
        place = torch.device(device.id)
        with torch_threads(threads):
            if not self.compiles:
                return profile_eager(network, place, x)
            with compiling(artifact.precision, device.kind):
                return profile_compiled(network, place, x, fixed=has_fixed_shapes(artifact.precision, device))

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.pt2`."""
        return sample_code(artifact, imports=_imports(artifact.precision), engine=_engine(self.compiles, artifact))


def _prepare_fours(module: torch.nn.Module, folder: Path) -> tuple[str, ...]:
    from runtimes.semi_structured import prepare, write_names

    return write_names(prepare(module), folder)


def _load(artifact: Artifact, device: Device) -> tuple[torch.export.ExportedProgram, torch.fx.GraphModule]:
    """The exported program on the device, and its network as it is served."""
    import torch
    from torch.export.passes import move_to_device_pass

    from runtimes.semi_structured import pack

    if artifact.precision in QUANTIZED:
        import_torchao()
        if artifact.precision == "int8":
            import_x86_quantizer()  # knows the operators that an INT8 program consists of
    program = move_to_device_pass(torch.export.load(artifact.main_file), device.id)
    # Convolutions with channels-last weights ran 1.1 to 1.7 times faster on a CPU; the file keeps the plain layout.
    network = program.module().to(memory_format=torch.channels_last)
    pack(network, artifact, device)
    return program, network


class _TorchSession:
    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device, threads: int) -> None:
        self._network, self._device, self._threads = network, device, threads
        self._stack = ExitStack()

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`."""
        return self._device.type

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        import torch

        with torch.inference_mode():
            logits: Floats = self._network(torch.tensor(x, device=self._device)).cpu().numpy()
        return logits

    def bind(self, x: Floats) -> Callable[[], None]:
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

    def stages(self, x: Floats) -> Callable[[], tuple[float, float, float, float]] | None:
        """ms to the device, computing, back, and launching, of one inference on x; None on a CPU."""
        return staged(self._network, x, self._device) if self._device.type == "cuda" else None

    def bind_graph(self, x: Floats) -> Callable[[], None]:
        """Like `bind`, replayed as a CUDA graph. Raises `Unavailable` on a CPU or for what cannot be recorded."""
        if self._device.type != "cuda":
            raise no_graph_on_cpu()
        return graphed(self._network, x, self._device)

    def __enter__(self) -> _TorchSession:
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


class _FixedShapeSession(_TorchSession):
    """Compiles for each batch size by itself: compiled for any, convolutions get the wrong memory layout."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device, threads: int) -> None:
        super().__init__(network, device, threads)
        self._sizes: set[int] = set()

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]; a smaller batch than one seen is filled up with zeros."""
        import numpy as np

        size = min((size for size in self._sizes if size >= len(x)), default=len(x))
        self._get_ready(size, x.shape[1:])
        filled = np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
        return super().run(filled)[: len(x)]

    def bind(self, x: Floats) -> Callable[[], None]:
        """One inference on x, compiled for."""
        self._get_ready(len(x), x.shape[1:])
        return super().bind(x)

    def _get_ready(self, size: int, shape: Sequence[int]) -> None:
        import numpy as np

        if size not in self._sizes:
            with compiling("int8", "cpu"):
                super().run(np.zeros((size, *shape), np.float32))
            self._sizes.add(size)


def _compile_now(session: _TorchSession, shape: Sequence[int], sizes: Sequence[int], precision: Precision) -> None:
    """Compile inside `open`, for these batch sizes: PyTorch keeps different code for one image and for several."""
    import numpy as np

    with session, compiling(precision, session.device_kind):
        for size in sizes:
            session.run(np.zeros((size, *shape), np.float32))


def _why_no_cuda() -> str | None:
    build = version("torch")
    return f"The installed torch {build} is built for CPUs only" if build.endswith("+cpu") else None


def _why_no_compiler(device: Device) -> str | None:
    if sys.platform == "win32":
        return "torch.compile is offered on Linux and macOS only; on Windows use WSL2"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++")):
        return "torch.compile needs a C++ compiler: install g++ (Debian, Ubuntu: apt install g++)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "torch.compile needs Python's headers: install them (Debian, Ubuntu: apt install python3-dev)"
    if device.kind == "cuda" and find_spec("triton") is None:
        return "torch.compile on a GPU needs Triton: pip install triton"
    return None


_FORMS: dict[Form, str] = {"onnx": "ONNX", "openvino": "OpenVINO's"}


def _imports(precision: Precision) -> str:
    needs = {"int8": ", torchao.quantization.pt2e.quantizer.x86_inductor_quantizer"}
    return "import torch.export.passes" + needs.get(precision, ", torchao" if precision in QUANTIZED else "")


def _engine(compiles: bool, artifact: Artifact) -> str:
    if compiles and artifact.precision == "int8":
        return _LOGITS.format(
            f"""
DEVICE = "cpu"  # GPUs have no such kernels
torch._inductor.config.freezing = True  # else it computes in float
program = torch.export.load(HERE / "{_FILE}")  # runs code from the file: open only files you trust
network = torch.compile(program.module(), dynamic=False)
"""
        )
    network = "program.module().to(memory_format=torch.channels_last)"
    if len(artifact.files) > 1:
        network += f"\n{_PACKING}" + ("network = torch.compile(network)" if compiles else "")
    elif compiles:
        network = f"torch.compile({network})"
    return _LOGITS.format(
        f"""
DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
program = torch.export.load(HERE / "{_FILE}")  # runs code from the file: open only files you trust
program = torch.export.passes.move_to_device_pass(program, DEVICE)
network = {network.rstrip()}
"""
    )


_PACKING = """skips_zeros = DEVICE != "cpu" and torch.cuda.get_device_capability(DEVICE) >= (8, 0)
for name in json.loads((HERE / "two_four.json").read_text()) if skips_zeros else ():
    layer = network.get_submodule(name)
    layer.weight = torch.nn.Parameter(torch.sparse.to_sparse_semi_structured(layer.weight), requires_grad=False)
"""
"""Before anything is compiled."""

_LOGITS = """{}

def logits(x):
    with torch.inference_mode():
        return network(torch.from_numpy(x).to(DEVICE)).cpu().numpy()
"""
