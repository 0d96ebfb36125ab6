"""An encoder of `transformers` as a network of tokens. Imports torch: import it inside functions only."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import BadInput, Refused, Unavailable
from intake.items import WEIGHTS_FILE
from intake.text_folder import CONFIG_FILE, SAVE

_ATTENTION = "sdpa"
"""PyTorch's own attention, which every engine's exporter knows."""
_SHOWN = 6
_FAILURES = (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError)
"""What transformers raises on folders."""


class TextClassifier(nn.Module):
    """float32 logits[N, classes] of int64 x[N, 2, length]: tokens, and 1 where one counts or 0 where it fills up."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self._takes_segments = "token_type_ids" in inspect.signature(encoder.forward).parameters

    def forward(self, x: Tensor) -> Tensor:
        """All tokens belong to one segment."""
        tokens, mask = x[:, 0], x[:, 1]
        segments = {"token_type_ids": torch.zeros_like(tokens)} if self._takes_segments else {}
        logits: Tensor = self.encoder(input_ids=tokens, attention_mask=mask, **segments).logits
        return logits


def resaved(folder: Path, out: Path) -> nn.Module:
    """The classifier of a Hugging Face folder, its weights and configuration written anew into `out`.

    In float32 and eval mode on the CPU. Raises `Refused` where weights are missing, so that some would be random.
    """
    from transformers import AutoModelForSequenceClassification

    with _quiet():
        try:
            encoder, told = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except _FAILURES as error:
            why = str(error).partition("\n")[0][:200]
            raise BadInput(
                f"transformers cannot open {folder.name} ({why})",
                expected="a folder that model.save_pretrained wrote",
                action="Save the model again with the version of transformers that is installed here",
            ) from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise Refused(
            f"{folder.name} lacks {len(missing)} of the weights of its classifier: {', '.join(missing[:_SHOWN])}",
            expected="a classifier that was trained, with all its weights",
            action="Fine-tune it for your classes and save it again",
            snippet=SAVE,
        )
    (out / CONFIG_FILE).write_text(json.dumps(encoder.config.to_dict(), indent=1, default=str))
    save_file({name: tensor.contiguous() for name, tensor in _own_tensors(encoder).items()}, out / WEIGHTS_FILE)
    return network_in(out)


def network_in(folder: Path) -> nn.Module:
    """The classifier that `resaved` wrote, in eval mode on the CPU. Raises `Unavailable` where it does not open."""
    try:
        encoder, weights = _untrained(folder), load_file(folder / WEIGHTS_FILE)
        differing = weights.keys() ^ _own_tensors(encoder).keys()
        if differing:
            raise ValueError(f"{len(differing)} names of weights differ, {sorted(differing)[0]} for one")
        encoder.load_state_dict(weights, strict=False)  # tied weights are in the file once; all others were compared
    except _FAILURES as error:
        why = str(error).partition("\n")[0][:200]
        raise Unavailable(
            f"This model of texts does not open any more ({why})",
            expected="the version of transformers that it was added with",
            action="Install that version, or add the model again",
        ) from error
    return TextClassifier(encoder).eval()


def _untrained(folder: Path) -> nn.Module:
    """The architecture of `config.json`, drawn without disturbing torch's global generator."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    fields = json.loads((folder / CONFIG_FILE).read_text())
    auto: Any = AutoModelForSequenceClassification
    with _quiet(), torch.random.fork_rng():
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        encoder: nn.Module = auto.from_config(config, attn_implementation=_attention(config), trust_remote_code=False)
    return encoder


def _attention(config: Any) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    return _ATTENTION if getattr(kind, "_supports_sdpa", False) else "eager"


def _own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, each piece of memory once, by the first of its names."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in network.state_dict().items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            found[name] = tensor
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice, progress bars and questions to the network, whatever the environment says."""
    from transformers.utils import logging as its_logging

    logging: Any = its_logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
