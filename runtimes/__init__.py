"""The formats a model can ship in and the engines that serve them, one file each."""

from runtimes.aotinductor import AotInductor
from runtimes.extras import EXTRAS, Extra
from runtimes.litert import LiteRt, LiteRtSettings
from runtimes.onnxruntime_ import OnnxRuntime, OnnxRuntimeSettings
from runtimes.openvino_ import OpenVino, OpenVinoSettings
from runtimes.pytorch import PyTorch
from runtimes.runtime import Aids, Artifact, EngineSettings, Runtime, Session, with_settings
from runtimes.tensorrt_ import TensorRt, TensorRtSettings
from runtimes.torch_settings import CompileSettings, PyTorchSettings

RUNTIMES: dict[str, Runtime] = {
    "pytorch": PyTorch(PyTorchSettings()),
    "torch_compile": PyTorch(CompileSettings()),
    "aotinductor": AotInductor(PyTorchSettings()),
    "onnxruntime": OnnxRuntime(OnnxRuntimeSettings()),
    "openvino": OpenVino(OpenVinoSettings()),
    "tensorrt": TensorRt(TensorRtSettings()),
    "litert": LiteRt(LiteRtSettings()),
}


def runtime_of(artifact: Artifact) -> Runtime:
    """The engine that opens the artifact, with the settings it was made for."""
    return with_settings(RUNTIMES[artifact.runtime], artifact.engine)


__all__ = [
    "EXTRAS", "RUNTIMES", "Aids", "Artifact", "EngineSettings", "Extra", "Runtime", "Session", "runtime_of",
    "with_settings",
]  # fmt: skip
