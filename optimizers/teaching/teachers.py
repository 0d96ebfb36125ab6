"""Who teaches, and the answers that are kept for the next time. Imports torch: import it inside functions only."""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.bundle import ModelBundle, Network, OnnxGraph, PlainNetwork
from core.data import Contract, Floats, InputContract, Split
from core.errors import CannotCompose, RunFailed, Unavailable
from core.onnx_macs import parameters_of_graph
from core.onnx_reference import reference
from core.progress import Note, Progress, Steps
from optimizers.state import on_device, torch_state
from optimizers.technique import Context, Served
from optimizers.training.examples import examples_of

AS_STORED = (0,)
BOTH_VIEWS = (0, 1)
"""As stored, and mirrored."""

_BATCH = 250
_PROBES = 16
_MOST_BYTES = 10**9
_PREFIX = "answers-"


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network, or several finished variants together, that can be asked about images."""

    title: str
    """`The network as loaded`; `Ensemble of 3 variants`."""
    ask: Callable[[Tensor], Tensor]
    """float32 logits[N, classes] of x[N, C, H, W], both on the context's device; without gradients."""
    identity: str
    """Changes with whatever would change its answers."""
    network: nn.Module | None = None
    """On the context's device and in eval mode; None where only answers can be had."""


def network_teacher(network: nn.Module, context: Context, *, title: str) -> Teacher:
    """A copy of the network on the context's device, as a teacher."""
    moved = on_device(network, context).eval()

    def ask(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = moved(x)
        return logits

    return Teacher(title, ask, hash_of(network), moved)


def another_model(title: str, other: ModelBundle, bundle: ModelBundle, context: Context) -> Teacher:
    """Another model as a teacher of images that are normalised for the bundle's network: it sees them as it wants them.

    A torch module answers on the context's device, an ONNX graph in ONNX Runtime on the CPU. Raises `CannotCompose` for
    images of another size or other classes.
    """
    ours, theirs = bundle.contract, other.contract
    if ours.shape != theirs.shape or ours.labels != theirs.labels:
        raise CannotCompose(
            f"{title} as a teacher, for inputs of {theirs.shape} and {len(theirs.labels)} classes",
            expected=f"inputs of {ours.shape} and the {len(ours.labels)} classes of the model that is taught",
            action="Choose another teacher",
        )
    if isinstance(other.network, OnnxGraph):
        answer, identity = _in_onnxruntime(other.network, context), _hash(other.network.content)
    else:
        asked = network_teacher(other.module, context, title=title)
        answer, identity = asked.ask, asked.identity
    turned = _between(ours, theirs, context)
    return Teacher(title, lambda x: answer(turned(x)), _hash(identity.encode(), str(theirs).encode()))


def _in_onnxruntime(graph: OnnxGraph, context: Context) -> Callable[[Tensor], Tensor]:
    logits = reference(graph.content, threads=context.threads)

    def ask(x: Tensor) -> Tensor:
        return torch.from_numpy(logits(np.ascontiguousarray(x.cpu().numpy()))).to(x.device)

    return ask


def _between(ours: Contract, theirs: Contract, context: Context) -> Callable[[Tensor], Tensor]:
    """From x[N, C, H, W] normalised as the one contract says to the same images as the other says."""
    if not isinstance(ours, InputContract) or not isinstance(theirs, InputContract):
        return lambda x: x
    mean, std, their_mean, their_std = (
        torch.tensor(each, device=context.device.id)[None, :, None, None]
        for each in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    if (ours.mean, ours.std) == (theirs.mean, theirs.std):
        return lambda x: x
    return lambda x: (x * std + mean - their_mean) / their_std


def parameters_in(network: Network) -> int | None:
    """What is learned in a torch module or an ONNX graph; None for another form."""
    if isinstance(network, OnnxGraph):
        return parameters_of_graph(network.content)[0]
    return None if isinstance(network, PlainNetwork) else sum(each.numel() for each in network.parameters())


@contextmanager
def ensemble(digests: Sequence[str], bundle: ModelBundle, context: Context) -> Iterator[Teacher]:
    """Finished variants that answer together, for as long as their files are open.

    Its logits are the logarithm of the mean of their softmax probabilities, which is what every one of them would have
    to say for the mean to come out. Raises `Unavailable` where no finished variants can be reached, `CannotCompose`
    for one with other classes.
    """
    if context.finished is None:
        raise Unavailable(
            "Finished variants as teachers", expected="a run that knows earlier runs", action="Choose no variants"
        )
    with ExitStack() as opened:
        members = [opened.enter_context(context.finished(digest)) for digest in digests]
        probe = bundle.contract.prepare(bundle.data.train.pixels[:_PROBES])
        answers = [member.run(probe) for member in members]
        for digest, logits in zip(digests, answers, strict=True):
            _require_classes(digest, logits, len(bundle.contract.labels))
        identity = _hash(*(digest.encode() for digest in digests), *(logits.tobytes() for logits in answers))
        title = f"Ensemble of {len(members)} variants" if len(members) > 1 else "A finished variant"
        yield Teacher(title, lambda x: _mean_answer(members, x), identity)


def _mean_answer(members: Sequence[Served], x: Tensor) -> Tensor:
    pixels = np.ascontiguousarray(x.cpu().numpy())
    each = torch.stack([torch.log_softmax(torch.from_numpy(member.run(pixels)), 1) for member in members])
    mean: Tensor = each.logsumexp(0) - math.log(len(members))
    return mean.to(x.device)


def _require_classes(digest: str, logits: Floats, classes: int) -> None:
    if logits.shape[1] != classes:
        raise CannotCompose(
            f"The variant {digest} as a teacher, which knows {logits.shape[1]} classes",
            expected=f"a variant of this model, with {classes} classes",
            action="Choose another variant",
        )


def answers(
    teacher: Teacher, split: Split, bundle: ModelBundle, context: Context, *, views: Sequence[int], doing: str
) -> Steps[Tensor]:
    """float32 [views, N, classes] on the context's device: the teacher's logits for each image in each view.

    Kept in the context's cache by the name of all that decides them, and read from there the next time; the folder is
    held below about 1 GB by removing what was used longest ago. Raises `RunFailed` where one is not finite.
    """
    path = _place(teacher, split, bundle, context, views)
    expected = (len(views), len(split), len(bundle.contract.labels))
    kept = _read(path, expected) if path else None
    if kept is not None:
        yield Note(
            text=f"The teacher's answers to {len(split):,} {bundle.contract.unit} were kept from an earlier run."
        )
        return kept.to(context.device.id)
    found = yield from _ask(teacher, split, bundle, context, views, doing)
    if not found.isfinite().all():
        raise RunFailed("The teacher's answers are not all finite numbers", action="Choose another teacher")
    if path:
        _write(path, found)
    return found


def _ask(
    teacher: Teacher, split: Split, bundle: ModelBundle, context: Context, views: Sequence[int], doing: str
) -> Steps[Tensor]:
    with torch_state(context):
        examples = examples_of(split, bundle.contract, torch.device(context.device.id))
        found: list[list[Tensor]] = [[] for _ in views]
        for start in range(0, len(examples), _BATCH):
            rows = slice(start, start + _BATCH)
            for place, view in enumerate(views):
                found[place].append(teacher.ask(examples.seen(rows, mirrored=bool(view))))
            done, unit = min(start + _BATCH, len(examples)), bundle.contract.unit
            yield Progress(done=done, total=len(examples), unit=unit, doing=doing)
    return torch.stack([torch.cat(each) for each in found])


def hash_of(network: nn.Module) -> str:
    """A hash of the network's form and weights."""
    parts = [repr(network).encode()]
    for name, tensor in network.state_dict().items():
        parts += [name.encode(), tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()]
    return _hash(*parts)


def _hash(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()


def _place(teacher: Teacher, split: Split, bundle: ModelBundle, context: Context, views: Sequence[int]) -> Path | None:
    """Where the answers are kept: a name that follows from all that decides them to the last bit."""
    if context.cache is None:
        return None
    contract, device = bundle.contract, context.device
    conditions = f"{contract} {split.pixels.shape} {tuple(views)} {device.name} {context.threads} {torch.__version__}"
    name = _hash(teacher.identity.encode(), split.pixels.tobytes(), conditions.encode())
    return context.cache / f"{_PREFIX}{name[:32]}.safetensors"


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    try:
        logits = load_file(path)["logits"]
    except (OSError, SafetensorError, KeyError):  # nobody's loss: it is asked for and written anew
        return None
    if tuple(logits.shape) != shape or logits.dtype != torch.float32 or not logits.isfinite().all():
        return None
    os.utime(path)
    return logits


def _write(path: Path, logits: Tensor) -> None:
    """Keep the answers, unless there is no room for them."""
    draft = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        save_file({"logits": logits.cpu().contiguous()}, draft)
        os.replace(draft, path)
        _forget_oldest(path.parent, _MOST_BYTES)
    except (OSError, SafetensorError):
        draft.unlink(missing_ok=True)


def _forget_oldest(folder: Path, most_bytes: int) -> None:
    """Remove kept answers, those used longest ago first, until the rest take no more than that."""
    files = {path: path.stat() for path in folder.glob(f"{_PREFIX}*")}
    total = sum(stat.st_size for stat in files.values())
    for path, stat in sorted(files.items(), key=lambda item: item[1].st_mtime):
        if total <= most_bytes:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
