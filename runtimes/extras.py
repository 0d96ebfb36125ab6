"""What is installed on request: what each would add, and the command that brings it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Extra:
    """An optional part that the ordinary installation leaves out."""

    key: str
    title: str
    modules: tuple[str, ...]
    """Import names, any of which will do."""
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
        """Whether one of its modules can be found, here or in its own environment; nothing is imported."""
        stamp = ROOT / f".venv-{self.key}" / f"installed-requirements-{self.key}.txt"
        return stamp.exists() or any(find_spec(name) is not None for name in self.modules)


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
        "TensorFlow and LiteRT",
        ("tensorflow",),
        "Keras models, TensorFlow's pruning, clustering and quantization-aware training, and .tflite files for phones. "
        "This version sets up its environment; the techniques are not part of it yet.",
    ),
}
