"""The formats a model can ship in and the engines that serve them, one file each."""

from runtimes.extras import EXTRAS, Extra
from runtimes.onnxruntime_ import OnnxRuntime
from runtimes.openvino_ import OpenVino
from runtimes.pytorch import PyTorch
from runtimes.runtime import Artifact, Runtime, Session
from runtimes.tensorrt_ import TensorRt

RUNTIMES: dict[str, Runtime] = {
    "pytorch": PyTorch(compiles=False),
    "torch_compile": PyTorch(compiles=True),
    "onnxruntime": OnnxRuntime(),
    "openvino": OpenVino(),
    "tensorrt": TensorRt(),
}

__all__ = ["EXTRAS", "RUNTIMES", "Artifact", "Extra", "Runtime", "Session"]
