"""What is installed on request: what each would add, and the command that brings it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from bridges.environments import ENVIRONMENTS


@dataclass(frozen=True)
class Extra:
    """An optional part that the ordinary installation leaves out."""

    key: str
    title: str
    modules: tuple[str, ...]
    """Import names, any of which will do; not looked for where it has an environment of its own."""
    adds: str
    """One sentence: what is gained."""
    is_engine: bool = True
    """Whether it serves networks, rather than bringing some."""

    @property
    def command(self) -> str:
        """What to type to install it."""
        return f"python3 studio.py install {self.key}"

    @property
    def is_installed(self) -> bool:
        """Whether its own environment is here or, of those without one, one of its modules; nothing is imported."""
        if environment := ENVIRONMENTS.get(self.key):
            return environment.is_installed
        return any(find_spec(name) is not None for name in self.modules)


EXTRAS: dict[str, Extra] = {
    "tensorrt": Extra(
        "tensorrt",
        "TensorRT",
        ("tensorrt", "tensorrt_rtx"),
        "NVIDIA's engine builder: usually the fastest way to serve FP16, INT8 and FP8 models on an NVIDIA GPU.",
    ),
    "tensorrt-rtx": Extra(
        "tensorrt-rtx",
        "TensorRT for RTX",
        ("tensorrt_rtx",),
        "Builds engines for NVIDIA GPUs that need not be here, and tells without one which operators TensorRT takes.",
    ),
    "text": Extra(
        "text",
        "Models of texts",
        ("transformers",),
        "Classifiers of texts, such as BERT, from a local Hugging Face folder, by `python3 studio.py bring`.",
        is_engine=False,
    ),
    "tensorflow": Extra(
        "tensorflow",
        "TensorFlow",
        ("tensorflow",),
        "Models of Keras: bringing, training, pruning and clustering them, and TensorFlow's quantization, with and "
        "without training. What comes out, a .tflite file, is served and measured without it.",
        is_engine=False,
    ),
    "litert-torch": Extra(
        "litert-torch",
        "LiteRT Torch",
        ("litert_torch",),
        "Networks of PyTorch as .tflite files, so that LiteRT serves them and its quantizer works on them.",
        is_engine=False,
    ),
}
