"""PyTorch's exported program (`.pt2`), served eagerly or through torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle import Form, ModelBundle, Precision, Situation
from core.data import Floats, Inputs
from core.devices import Device
from core.errors import CannotCompose
from core.layers import LayerProfile
from core.torchao_import import import_torchao, import_x86_quantizer
from runtimes.compiling import QUANTIZED, compiling, has_fixed_shapes
from runtimes.fit import (
    refuse_bf16_before_ampere,
    refuse_fp16_on_cpu,
    refuse_graph,
    refuse_tflite,
    why_no_compiler,
    why_no_cuda,
    why_not_installed,
)
from runtimes.runtime import NO_AIDS, Aids, Artifact, Session
from runtimes.sample_code import sample_code
from runtimes.torch_session import FixedShapeSession, SelfGraphedSession, TorchSession, compile_now, torch_threads
from runtimes.torch_settings import PyTorchSettings

if TYPE_CHECKING:
    import torch

_FILE = "model.pt2"
_SELF_GRAPHED = ("reduce-overhead", "max-autotune")
"""Compile modes that record CUDA graphs."""


@dataclass(frozen=True)
class PyTorch:
    """The exported program run by PyTorch itself."""

    settings: PyTorchSettings

    @property
    def compiles(self) -> bool:
        """Whether its compiler makes kernels of the program when it is opened."""
        return self.settings.compile_mode is not None

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

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        return (
            why_not_installed("torch", "PyTorch")
            or (why_no_cuda() if device.kind == "cuda" else None)
            or (why_no_compiler(device, self.title) if self.compiles else None)
        )

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for another form than PyTorch's, and for a precision that it would not compute in."""
        _refuse_settings(self.settings, situation.device)
        refuse_graph(situation, self.title)
        refuse_tflite(situation, self.title)
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
        example = torch.from_numpy(bundle.contract.example(2))
        batch = torch.export.Dim("batch", min=1)
        with torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
        save_program(program, folder / _FILE)
        return Artifact(self.key, bundle.precision, folder, (_FILE, *beside), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session; with torch.compile, already compiled for a batch of one and for any of 16 or more.

        With fixed INT8 grids, or frozen, every batch size is compiled for by itself, in the session, before it is
        first served.
        Loading a `.pt2` can run code that it contains: open only what `export` wrote.
        """
        import torch

        program, network = _load(artifact, device)
        place = torch.device(device.id)
        if not self.compiles:
            return TorchSession(network, place, threads)
        settings = _settings(artifact)
        mode = settings.compile_mode
        sizes: tuple[int, ...] = (1, 16)
        session: TorchSession
        if has_fixed_shapes(artifact.precision, device, freeze=settings.packs_weights):
            compiled = torch.compile(network, dynamic=False, mode=mode)
            session, sizes = FixedShapeSession(compiled, place, threads, precision=artifact.precision), (1,)
        elif device.kind == "cuda" and mode in _SELF_GRAPHED:
            session = SelfGraphedSession(torch.compile(network, mode=mode), place, threads)
        else:
            session = TorchSession(torch.compile(network, mode=mode), place, threads)
        compile_now(session, program.example_inputs[0][0], sizes, artifact.precision)
        return session

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Each operation's time on x[N, C, H, W], or each compiled kernel's, which are then compiled anew."""
        import torch

        from runtimes.layers_compiled import profile_compiled
        from runtimes.layers_pytorch import profile_eager

        _, network = _load(artifact, device)
        place = torch.device(device.id)
        with torch_threads(threads):
            if not self.compiles:
                return profile_eager(network, place, x)
            settings = _settings(artifact)
            freeze = settings.packs_weights
            with compiling(artifact.precision, device.kind, freeze=freeze):
                fixed = has_fixed_shapes(artifact.precision, device, freeze=freeze)
                return profile_compiled(network, place, x, fixed=fixed, mode=settings.compile_mode)

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of what the operations of the program make, in order."""
        from runtimes.tensors_pytorch import program_tensors

        return program_tensors(_program(artifact).module())

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W]; what comes after it is left out, and the rest compiled anew where it is."""
        import torch

        from runtimes.tensors_pytorch import probe_program

        def compiled(network: torch.fx.GraphModule) -> Callable[[torch.Tensor], torch.Tensor]:
            kept: Callable[[torch.Tensor], torch.Tensor] = torch.compile(
                network, dynamic=False, mode=_settings(artifact).compile_mode
            )
            return kept

        _, network = _load(artifact, device)
        freeze = _settings(artifact).packs_weights
        with torch_threads(threads), compiling(artifact.precision, device.kind, freeze=freeze):
            prepare = compiled if self.compiles else None
            return probe_program(network, torch.device(device.id), x=x, name=name, prepare=prepare)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.pt2`."""
        return sample_code(artifact, imports=_imports(artifact.precision), engine=_engine(self.settings, artifact))


def _settings(artifact: Artifact) -> PyTorchSettings:
    return artifact.engine if isinstance(artifact.engine, PyTorchSettings) else PyTorchSettings()


def _refuse_settings(settings: PyTorchSettings, device: Device) -> None:
    if settings.compile_mode == "reduce-overhead" and device.kind == "cpu":
        raise CannotCompose(
            "the compile mode Reduce overhead on a CPU",
            expected="an NVIDIA GPU, because it records CUDA graphs and does nothing else",
            action="Choose another compile mode",
        )
    if settings.packs_weights and device.kind != "cpu":
        raise CannotCompose(
            "frozen weights on a GPU",
            expected="a CPU, because it is the kernels of CPUs that want their weights packed",
            action="Leave Freeze weights off",
        )


def _prepare_fours(module: torch.nn.Module, folder: Path) -> tuple[str, ...]:
    from runtimes.semi_structured import prepare, write_names

    return write_names(prepare(module), folder)


def _program(artifact: Artifact) -> torch.export.ExportedProgram:
    """As it lies in the file. Loading can run code that it contains."""
    import torch

    if artifact.precision in QUANTIZED:
        import_torchao()
        if artifact.precision == "int8":
            import_x86_quantizer()  # knows the operators that an INT8 program consists of
    return torch.export.load(artifact.main_file)


def _load(artifact: Artifact, device: Device) -> tuple[torch.export.ExportedProgram, torch.fx.GraphModule]:
    """The exported program on the device, and its network as it is served."""
    import torch
    from torch.export.passes import move_to_device_pass

    from runtimes.semi_structured import pack

    program = move_to_device_pass(_program(artifact), device.id)
    # Convolutions with channels-last weights ran 1.1 to 1.7 times faster on a CPU; the file keeps the plain layout.
    network = program.module()
    if _settings(artifact).layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    pack(network, artifact, device)
    return program, network


_FORMS: dict[Form, str] = {"onnx": "ONNX", "openvino": "OpenVINO's"}


def _imports(precision: Precision) -> str:
    if precision not in QUANTIZED:
        return "import torch.export.passes"
    module = "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer" if precision == "int8" else "torchao"
    return f"import torch.export.passes\nimport {module}  # knows what the file consists of"


def _engine(settings: PyTorchSettings, artifact: Artifact) -> str:
    """Source that opens the program as `PyTorch.open` does, and defines `logits`."""
    mode = settings.compile_mode
    options = "" if mode in (None, "default") else f', mode="{mode}"'
    layout = ".to(memory_format=torch.channels_last)" if settings.layout == "channels_last" else ""
    if mode and (settings.packs_weights or artifact.precision == "int8"):
        is_int8 = artifact.precision == "int8"
        device = 'DEVICE = "cpu"  # ' + ("GPUs have no such kernels" if is_int8 else "GPUs want no packed weights")
        freezing = "torch._inductor.config.freezing = True" + ("  # else it computes in float" if is_int8 else "")
        move, packing, options = f"program.module(){layout}", "", f", dynamic=False{options}"
    else:
        device, freezing = 'DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"', ""
        move = f"torch.export.passes.move_to_device_pass(program, DEVICE).module(){layout}"
        packing = _PACKING if len(artifact.files) > 1 else ""
    lines = (
        device,
        freezing,
        f'program = torch.export.load(HERE / "{_FILE}")  # runs code from the file: open only files you trust',
        f"network = {move}",
        packing.rstrip("\n"),
        f"network = torch.compile(network{options})" if mode else "",
    )
    return _LOGITS.format("\n".join(line for line in lines if line) + "\n")


_PACKING = """skips_zeros = DEVICE != "cpu" and torch.cuda.get_device_capability(DEVICE) >= (8, 0)
for layer in map(network.get_submodule, json.loads((HERE / "two_four.json").read_text()) if skips_zeros else ()):
    layer.weight = torch.nn.Parameter(torch.sparse.to_sparse_semi_structured(layer.weight), requires_grad=False)
"""
"""Before anything is compiled."""

_LOGITS = """{}
def logits(x):
    with torch.inference_mode():
        return network(torch.from_numpy(x).to(DEVICE)).cpu().numpy()
"""
