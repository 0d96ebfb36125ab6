"""Every layer changed alone. Imports torch: import it inside functions only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from core.bundle import ModelBundle
from core.data import Contract, Split
from core.devices import Device
from core.errors import BadInput, CannotCompose, RunFailed
from core.progress import Progress, Steps
from core.scan import CHANGES, Change, Scan, ScanCell
from optimizers.alone import Range, changed, why_not
from optimizers.passes import Passes
from optimizers.quantization.folding import batchnorms_after
from optimizers.quantization.selection import kind_of, layers_of
from optimizers.state import on_device, torch_state
from optimizers.teaching.teachers import hash_of
from optimizers.technique import Context

_DOING = "each layer changed alone"
_METHOD = "1"
"""Of computing a cell; cells of another method are not read."""
_MOST_IMAGES = 64
_MOST_VALUES = 1_000_000
"""Of a batch's images."""
_MOST_BYTES = 2**29
"""Of intermediate results that are kept: 512 MiB."""

_Place = tuple[str, Change]


class Cache:
    """Cells that were computed before, as files in a folder: one for each network and its images, a cell a line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = 0
        """Cells that did not have to be computed again."""

    def read(self, key: str) -> dict[_Place, ScanCell]:
        """The cells kept under a key; what cannot be read is computed again."""
        try:
            lines = self._path(key).read_bytes().splitlines()
        except OSError:
            return {}
        return {(cell.layer, cell.change): cell for cell in map(_parsed, lines) if cell}

    def keep(self, key: str, cell: ScanCell) -> None:
        """Add a cell, unless there is no room for it. A line broken off by a kill does not spoil the next."""
        line = f"\n{cell.model_dump_json()}\n".encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._path(key).open("ab", buffering=0) as file:
                file.write(line)
        except OSError:  # nobody's loss: it is computed again the next time
            return

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.jsonl"


def _parsed(line: bytes) -> ScanCell | None:
    try:
        return ScanCell.model_validate_json(line)
    except ValidationError:
        return None


def scan_layers(
    bundle: ModelBundle, changes: Sequence[Change], *, images: int, device: Device, threads: int, cache: Cache
) -> Steps[Scan]:
    """Every layer of the bundle's float network, changed alone in each of these ways.

    Judged on the first `images` calibration images, or all where there are fewer. `optimizers.alone.changed` says what
    a change does to a layer. Progress counts changes, early layers for more and late ones for less than one, as they
    take longer. Raises `CannotCompose` for what is no float network with layers, `BadInput` without images or for
    unknown changes, and `RunFailed` where the untouched network's answers are not finite.
    """
    changes = tuple(dict.fromkeys(changes))
    split = bundle.data.calibrate.take(max(0, images))
    _require(bundle, changes, split)
    context = Context(device, threads, 0, cache.folder, _no_student)
    with torch_state(context):
        subject = _Subject.of(bundle, split, context)
        expected = yield from subject.untouched()
        why_missing = subject.why_missing(changes)
        places = [(name, change) for name in subject.layers for change in changes if (name, change) not in why_missing]
        key = _key(bundle, split, device)
        found = yield from _cells(subject, expected, places, cache, key)
    return Scan(
        images=len(split),
        correct=_correct(expected, split),
        layers=tuple(subject.layers),
        kinds=tuple(kind_of(layer) for layer in subject.layers.values()),
        parameters=tuple(sum(each.numel() for each in layer.parameters()) for layer in subject.layers.values()),
        changes=changes,
        cells=found,
        why_missing={"|".join(place): why for place, why in why_missing.items()},
    )


def _no_student(key: str) -> nn.Module:
    raise AssertionError(f"a scan builds no network, not {key} either")


def _require(bundle: ModelBundle, changes: Sequence[Change], split: Split) -> None:
    if bundle.form != "torch" or bundle.precision != "fp32":
        raise CannotCompose(
            f"A scan of a network in {bundle.precision} as {bundle.form}",
            expected="a float32 network of PyTorch",
            action="Scan the untouched network",
        )
    unknown = [change for change in changes if change not in CHANGES]
    if unknown or not changes:
        raise BadInput(
            f"The change {unknown[0]!r} is not known" if unknown else "No change was asked for",
            expected=f"some of {', '.join(CHANGES)}",
            action="Choose at least one of these",
        )
    if not len(split):
        raise BadInput("There are no calibration images", expected="at least one", action="Add images to the model")


def _key(bundle: ModelBundle, split: Split, device: Device) -> str:
    """A name that follows from all that decides a cell beside the layer and the change."""
    total = hashlib.sha256()
    conditions = f"{_METHOD} {bundle.contract} {split.pixels.shape} {device.kind} {torch.__version__}"
    for part in (hash_of(bundle.module).encode(), split.pixels.tobytes(), split.labels.tobytes(), conditions.encode()):
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()[:32]


def _cells(
    subject: _Subject, expected: Tensor, places: Sequence[_Place], cache: Cache, key: str
) -> Steps[tuple[ScanCell, ...]]:
    """A cell for each place, from the cache where it is there, else computed and put there."""
    kept = cache.read(key)
    found = {place: kept[place] for place in places if place in kept}
    cache.found += len(found)
    seconds = {place: subject.passes.seconds_from(subject.passes.place_of(place[0])) for place in places}
    per_second = len(places) / (sum(seconds.values()) or 1.0)
    done = per_second * sum(seconds[place] for place in found)
    yield Progress(done=done, total=len(places), unit="changes", doing=_DOING)
    for place in places:
        if place not in found:
            found[place] = _cell(place, subject.logits(place), expected, subject.split)
            cache.keep(key, found[place])
            done += per_second * seconds[place]
            yield Progress(done=done, total=len(places), unit="changes", doing=_DOING)
    return tuple(found[place] for place in places)


def _cell(place: _Place, logits: Tensor, expected: Tensor, split: Split) -> ScanCell:
    """Changed logits[N, classes] beside the expected ones. Raises `RunFailed` where they are not finite."""
    if not logits.isfinite().all():
        raise RunFailed(
            f"With {CHANGES[place[1]]} in {place[0]} alone the network's answers are not finite numbers",
            action="Scan without this change",
        )
    after, before = (log_softmax(each, dim=1) for each in (logits, expected))
    return ScanCell(
        layer=place[0],
        change=place[1],
        correct=_correct(logits, split),
        agreed=int((logits.argmax(1) == expected.argmax(1)).sum()),
        divergence=max(0.0, float(kl_div(after, before, reduction="batchmean", log_target=True))),
        output_error=float((logits - expected).norm() / expected.norm()),
    )


def _correct(logits: Tensor, split: Split) -> int | None:
    """Images that are right; None where not all have labels."""
    if not (split.labels >= 0).any(axis=1).all():
        return None
    return int(split.is_correct(logits.argmax(1).numpy()).sum())


@dataclass(frozen=True, eq=False)
class _Subject:
    """A copy of the network that is changed, and what it is judged on."""

    network: nn.Module
    """On the device and in eval mode."""
    device: str
    contract: Contract
    split: Split
    layers: Mapping[str, nn.Module]
    norms: Mapping[str, str]
    """The BatchNorm that each layer feeds, where it does."""
    passes: Passes
    seen: dict[str, Range] = field(default_factory=dict)
    """The smallest and largest value that came into each layer of the untouched network."""

    @staticmethod
    def of(bundle: ModelBundle, split: Split, context: Context) -> _Subject:
        network = on_device(bundle.module, context).eval()
        x = torch.from_numpy(bundle.contract.prepare(split.take(2).pixels)).to(context.device.id)
        layers = layers_of(network, x)
        if not layers:
            raise CannotCompose("A network without convolutions and linear layers", action="Choose another model")
        with torch.no_grad():
            passes = Passes(network, x, most_bytes=_MOST_BYTES)
        norms = batchnorms_after(network, x)
        return _Subject(network, context.device.id, bundle.contract, split, layers, norms, passes)

    def batches(self) -> Iterator[Tensor]:
        """x[N, C, H, W] after x[N, C, H, W] on the device."""
        size = max(1, min(_MOST_IMAGES, _MOST_VALUES // math.prod(self.contract.shape)))
        for start in range(0, len(self.split), size):
            pixels = self.split.pixels[start : start + size]
            yield torch.from_numpy(self.contract.prepare(pixels)).to(self.device)

    def untouched(self) -> Steps[Tensor]:
        """float64 logits[N, classes] on the CPU, as of the others; what comes into the layers is noted meanwhile."""
        handles = [layer.register_forward_pre_hook(self._noting(name)) for name, layer in self.layers.items()]
        answers, done = [], 0
        try:
            for x in self.batches():
                with torch.no_grad():
                    answers.append(self.passes.timed(x).double().cpu())
                done += len(x)
                yield Progress(done=done, total=len(self.split), unit=self.contract.unit, doing="the untouched network")
        finally:
            for handle in handles:
                handle.remove()
        logits = torch.cat(answers)
        if not logits.isfinite().all() or not logits.any():
            raise RunFailed(
                "The untouched network's answers are not finite numbers, or all are 0", action="Choose another model"
            )
        return logits

    def _noting(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_layer: nn.Module, args: tuple[Any, ...]) -> None:
            low, high = args[0].aminmax()
            before = self.seen.get(name, (low, high))
            self.seen[name] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

        return hook

    def why_missing(self, changes: Sequence[Change]) -> dict[_Place, str]:
        """One sentence for each change that does not fit a layer."""
        last = list(self.layers)[-1]
        whys = {
            (name, change): why_not(self.network, name, change, is_last=name == last)
            for name in self.layers
            for change in changes
        }
        return {place: why for place, why in whys.items() if why}

    def logits(self, place: _Place) -> Tensor:
        """float64 logits[N, classes] on the CPU of the network with one layer changed."""
        name, change = place
        where, answers = self.passes.place_of(name), []
        with torch.no_grad(), changed(self.network, name, change, seen=self.seen[name], norm=self.norms.get(name)):
            for batch, x in enumerate(self.batches()):
                answers.append(self.passes.logits(x, batch=batch, place=where).double().cpu())
        return torch.cat(answers)
