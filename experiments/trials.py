"""What works on a network, tried out once when it is added, so that what cannot work is refused before it runs.

Every trial is short: a small batch, no training. What was not tried for want of time is not refused.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from core.bundle import ModelBundle, OnnxGraph
from core.data import Floats, Inputs
from core.devices import find_device
from core.errors import NothingDone, RunFailed, StudioError, Unavailable
from core.progress import Note, Progress, Steps, result_of
from core.tflite_file import tflite_of
from optimizers import TECHNIQUES, Context
from profiling.fidelity import TOLERANCES
from runtimes import RUNTIMES
from sample_models import build_student

if TYPE_CHECKING:
    from torch import nn

SECONDS = 60.0
"""After so long no further trial begins."""
TOLERANCE = 0.02
"""How far an engine's answers may be off, of the largest one, while it only computes in another order."""
_IMAGES, _FEWEST = 3, 8
"""Images that are tried, and the fewest that LiteRT's quantizer observes."""
_OF_A_MODULE, _OF_A_GRAPH, _OF_A_FILE = 13, 5, 3
"""Trials of each."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Of a terminal, in messages of PyTorch's exporter."""
_PLACES = "Exception from "
"""Begins the lines with which OpenVINO says where in its source it was."""
_RATIO, _ROUND_TO = 0.3, 4
_WITH_LAYERS = ("int8", "qat", "magnitude_pruning", "simulated", "fp8")
_PROGRAMS = ("pytorch", "torch_compile", "aotinductor", "litert")
"""Runtimes that are given what `torch.export` makes of a network."""


@dataclass(frozen=True)
class Trial:
    """Something that may fail."""

    keys: tuple[str, ...]
    """Techniques, runtimes and, as `technique@runtime`, pairs of them that cannot work where it fails."""
    what: str
    """As the beginning of a sentence: `PyTorch cannot serve this network`."""
    attempt: Callable[[], None]
    """Raises anything, with the reason."""


def trials(bundle: ModelBundle, *, seconds: float = SECONDS) -> Steps[dict[str, str]]:
    """Why a technique or a runtime cannot work on the untouched network, by its key; empty where all can.

    A technique that cannot work in one runtime alone goes by `technique@runtime`.
    """
    refusals: dict[str, str] = {}
    late: list[str] = []
    total = {"onnx": _OF_A_GRAPH, "keras": _OF_A_FILE, "tflite": _OF_A_FILE}.get(bundle.form, _OF_A_MODULE)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number, trial in enumerate(_trials(bundle, Path(folder))):
            yield Progress(done=number, total=total, unit="trials", doing=f"trying {_in_words(trial.keys[:2])}")
            if time.monotonic() - began > seconds:
                late += [key for key in trial.keys if key not in late]
            elif not _is_settled(trial, refusals) and (why := _why(trial)):
                refusals |= dict.fromkeys(trial.keys, f"{trial.what}: {why}")
    if late:
        yield Note(text=f"Not tried, because it would take too long here: {_in_words(late)}.")
    for reason in dict.fromkeys(refusals.values()):
        yield Note(text=f"{reason.rstrip('.')}.", warning=True)
    return refusals


def _is_settled(trial: Trial, refusals: Mapping[str, str]) -> bool:
    """Whether all that it is about is refused already: a pair is where one of the two is."""
    return all(any(part in refusals for part in (key, *key.split("@"))) for key in trial.keys)


def _why(trial: Trial) -> str:
    """Why it failed, in one line; empty where it did not."""
    try:
        trial.attempt()
    except Unavailable:  # on this machine; elsewhere it may work
        return ""
    except StudioError as error:
        return error.received
    except Exception as error:  # libraries raise anything for networks they do not know: that is what is looked for
        return _first_words(error)
    return ""


def _first_words(error: BaseException) -> str:
    """What went wrong at the bottom of it, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    if "data-dependent" in str(error):
        return "it goes another way for other values in the image, which no exported file can"
    told = _COLOURS.sub("", str(error)).splitlines()
    lines = [line for line in told if line.strip() and not line.startswith(_PLACES)]
    return f"{type(error).__name__}: {lines[0].strip()[:200]}" if lines else type(error).__name__


def _in_words(keys: Iterable[str]) -> str:
    titles = [" in ".join(_title(part) for part in key.split("@")) for key in keys]
    return ", ".join(titles)


def _title(key: str) -> str:
    return TECHNIQUES[key].title if key in TECHNIQUES else RUNTIMES[key].title


def _trials(bundle: ModelBundle, folder: Path) -> Iterator[Trial]:
    """The cheap ones first."""
    if isinstance(bundle.network, OnnxGraph):
        yield from _in_engines(bundle, bundle.network, folder)
        yield from _in_int8(bundle, folder)
        return
    if tflite_of(bundle.network):
        yield from _of_a_file(bundle, folder)
        return
    yield Trial(_WITH_LAYERS, "There is nothing to quantize or to prune in this network", lambda: _require(bundle))
    yield Trial(("weight_only",), "There is nothing to quantize in this network", lambda: _require(bundle, linear=True))
    yield Trial(("two_four",), "No layer of this network can have the 2:4 pattern", lambda: _require_fours(bundle))
    yield Trial(("low_rank",), "No layer of this network can be factorised", lambda: _require_products(bundle))
    yield Trial(("mixed_precision",), "This network does not compute in 16 bits", lambda: _compute_in_bf16(bundle))
    yield Trial(_PROGRAMS, "PyTorch cannot export this network", lambda: _serve("pytorch", bundle, bundle, folder))
    exported: list[OnnxGraph] = []
    in_onnx = ("onnxruntime", "openvino", "tensorrt")
    yield Trial(in_onnx, "This network has no ONNX form", lambda: exported.append(_exported(bundle)))
    for graph in exported:  # none where the export failed, which was found out meanwhile
        yield from _in_engines(bundle, graph, folder)
    yield Trial(("structured_pruning",), "No channels can be removed from this network", lambda: _prune(bundle))
    yield from _in_int8(bundle, folder)


def _in_engines(bundle: ModelBundle, graph: OnnxGraph, folder: Path) -> Iterator[Trial]:
    as_graph = replace(bundle, network=graph)
    for key in ("onnxruntime", "openvino"):
        what = f"{RUNTIMES[key].title} cannot serve this network"
        yield Trial((key,), what, lambda key=key: _serve(key, as_graph, bundle, folder))  # type: ignore[misc]
    yield Trial(("tensorrt",), "TensorRT cannot serve this network", lambda: _parse_for_tensorrt(graph))


def _of_a_file(bundle: ModelBundle, folder: Path) -> Iterator[Trial]:
    """Of what LiteRT runs; what TensorFlow can do with it was tried when its file was read."""
    for key in ("litert", "openvino"):
        what = f"{RUNTIMES[key].title} cannot serve this network"
        yield Trial((key,), what, lambda key=key: _serve(key, bundle, bundle, folder))  # type: ignore[misc]
    if bundle.precision != "fp32":
        yield Trial(("litert_quantization",), "LiteRT's quantizer has nothing to round in this file", _is_rounded)
    else:
        what = "LiteRT's quantizer cannot turn this network into INT8"
        settings = {"scheme": "static_int8", "calibration_images": _FEWEST}
        by = "litert_quantization"
        yield Trial((by,), what, lambda: _quantize("litert", bundle, folder, by, settings))


def _is_rounded() -> None:
    raise NothingDone("it is quantized already")


def _in_int8(bundle: ModelBundle, folder: Path) -> Iterator[Trial]:
    """Static quantization, by the engines' own libraries on a few images, and serving its outcome."""
    for key in ("onnxruntime", "openvino"):
        keys = tuple(f"{technique}@{key}" for technique in ("int8", "qat"))
        what = f"This network cannot be served in INT8 by {RUNTIMES[key].title}"
        yield Trial(keys, what, lambda key=key: _quantize(key, bundle, folder))  # type: ignore[misc]


def _images(bundle: ModelBundle) -> Inputs:
    """x[N, C, H, W] of a few test images, or of an input of the right form where there are none."""
    pixels = bundle.data.test.take(_IMAGES).pixels
    return bundle.contract.prepare(pixels) if len(pixels) else bundle.contract.example(_IMAGES)


def _answers(bundle: ModelBundle, x: Inputs) -> Floats:
    """float32 logits[N, classes] of the untouched network."""
    if isinstance(bundle.network, OnnxGraph):
        from core.onnx_reference import reference

        return reference(bundle.network.content)(x)
    if content := tflite_of(bundle.network):
        from core import tflite_reference

        return tflite_reference.reference(content)(x)
    import torch

    with torch.inference_mode():
        logits: Floats = bundle.module(torch.from_numpy(x)).float().numpy()
    return logits


def _serve(key: str, bundle: ModelBundle, source: ModelBundle, folder: Path) -> None:
    """Raises where the engine does not take it, or answers one image and several otherwise than the source."""
    runtime, device = RUNTIMES[key], find_device("cpu")
    if reason := runtime.why_unavailable(device):
        raise Unavailable(reason)
    place = folder / key
    place.mkdir(exist_ok=True)
    x = _images(source)
    wanted = _answers(source, x)
    # Engines round the activations of a network that was brought in fewer bits each in their own way.
    most = max(TOLERANCE, TOLERANCES[source.precision])
    with runtime.open(runtime.export(bundle, place), device, threads=1) as session:
        for count in dict.fromkeys((1, min(len(x), getattr(session, "largest_batch", len(x))))):
            _require_same(wanted[:count], session.run(x[:count]), most)


def _quantize(
    key: str,
    bundle: ModelBundle,
    folder: Path,
    by: str = "int8",
    settings: Mapping[str, object] = MappingProxyType({"calibration_images": _IMAGES}),
) -> None:
    """Raises where the engine's quantizer fails, or the engine does not serve what it made; accuracy is not asked."""
    device, place = find_device("cpu"), folder / f"int8-{key}"
    place.mkdir()
    if reason := RUNTIMES[key].why_unavailable(device):
        raise Unavailable(reason)
    technique = TECHNIQUES[by].model_validate(dict(settings))
    context = Context(device, 1, 0, place, build_student, runtime=key)
    done = result_of(technique.apply(bundle, context))
    with RUNTIMES[key].open(RUNTIMES[key].export(done, place), device, threads=1) as session:
        answers = session.run(_images(bundle))
    if not np.isfinite(answers).all():
        raise RunFailed("its answers are not finite")


def _require_same(wanted: Floats, found: Floats, most: float) -> None:
    if found.shape != wanted.shape:
        raise RunFailed(f"it answers {found.shape} where {wanted.shape} is expected")
    if not np.isfinite(found).all():
        raise RunFailed("its answers are not finite")
    off = float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-9))
    if off > most:
        raise RunFailed(f"its answers are off by {100 * off:.2g} % of the largest one")


def _exported(bundle: ModelBundle) -> OnnxGraph:
    from core.onnx_export import export_onnx

    return OnnxGraph(export_onnx(bundle.module, bundle.contract))


def _parse_for_tensorrt(graph: OnnxGraph) -> None:
    from runtimes.tensorrt_compatible import compatibility

    refused = [each for each in compatibility(graph.content).operators if each.refused]
    if refused:
        raise RunFailed("; ".join(f"{each.op}: {each.reason}" for each in refused[:3]))


def _require(bundle: ModelBundle, *, linear: bool = False) -> None:
    from torch import nn

    layers = [each for each in _layers(bundle).values() if isinstance(each, nn.Linear) or not linear]
    if not layers:
        raise NothingDone(f"it has no {'linear layer' if linear else 'convolution and no linear layer'}")


def _layers(bundle: ModelBundle) -> dict[str, nn.Module]:
    import torch

    from optimizers.quantization.selection import layers_of

    return layers_of(bundle.module, torch.from_numpy(bundle.contract.example(1)))


def _require_fours(bundle: ModelBundle) -> None:
    from optimizers.sparsity.fours import why_dense

    layers = _layers(bundle)
    reasons = why_dense(layers, {})
    if len(reasons) == len(layers):
        raise NothingDone(next(iter(reasons.values()), "it has no convolution and no linear layer"))


def _require_products(bundle: ModelBundle) -> None:
    from core.low_rank import largest_saving_rank
    from optimizers.factorising import factorisable

    sizes = [(len(layer.weight), layer.weight[0].numel()) for layer in factorisable(bundle).values()]
    if not any(largest_saving_rank(inputs, outputs) for outputs, inputs in sizes):
        raise NothingDone("it has no linear layer and no 1x1 convolution that two thinner ones could replace")


def _compute_in_bf16(bundle: ModelBundle) -> None:
    import torch

    from runtimes.lowering import lowered

    x = torch.from_numpy(_images(bundle))
    with torch.inference_mode():
        answers = lowered(bundle.module, "bf16")(x)
    if not bool(answers.isfinite().all()):
        raise RunFailed("its answers are not finite in bf16")


def _prune(bundle: ModelBundle) -> None:
    """Raises where nothing can go, or where the network no longer answers without it."""
    import torch

    from optimizers.pruning.channels import Cut, prune

    before = bundle.module
    after = prune(bundle, Cut(_RATIO, "l2", everywhere_alike=True, round_to=_ROUND_TO))
    if sum(each.numel() for each in after.parameters()) == sum(each.numel() for each in before.parameters()):
        raise NothingDone("every layer has to keep its channels")
    x = _images(bundle)
    with torch.inference_mode():
        answers = after(torch.from_numpy(x)).numpy()
    if answers.shape != (len(x), len(bundle.contract.labels)) or not np.isfinite(answers).all():
        raise RunFailed("with fewer channels it gives no finite answers")
