"""Learning from what a teacher computes on its way to the answer. Imports torch: import it inside functions only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.errors import CannotCompose
from optimizers.distillation import HintName
from optimizers.state import on_device, torch_state
from optimizers.teaching.feature_maps import FeatureMap, Pair, listen, listening, pairs_of
from optimizers.teaching.losses import Objective, attention_hint, feature_hint
from optimizers.teaching.teachers import Teacher
from optimizers.technique import Context
from optimizers.training.batches import Batch

_EXAMPLES = 2


class Hints:
    """A teacher that is run beside the student, whose feature maps count besides its answers. Fulfils `Teaching`.

    The loss is the objective's, plus weight times the sum of `feature_hint` or `attention_hint` over all pairs.
    """

    def __init__(
        self,
        teacher: Teacher,
        objective: Objective,
        pairs: tuple[Pair, ...],
        regressors: nn.ModuleList,
        *,
        kind: HintName,
        weight: float,
    ) -> None:
        assert teacher.network is not None, "only a network has feature maps"
        self.teacher, self.objective, self.pairs, self.kind, self.weight = teacher, objective, pairs, kind, weight
        self._network, self._regressors = teacher.network, regressors
        self._seen: dict[str, Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def attach(self, student: nn.Module) -> list[nn.Parameter]:
        """Listen to the student from now on; the regressors' parameters, which have to be trained beside it."""
        self.detach()
        for layer in {pair.student.layer for pair in self.pairs}:
            self._handles.append(listen(student, layer, self._seen.__setitem__))
        return list(self._regressors.parameters())

    def detach(self) -> None:
        """Leave the student as it was before `attach`."""
        while self._handles:
            self._handles.pop().remove()
        self._seen.clear()

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The objective of the student's logits[N, classes], and what its maps lack to be the teacher's."""
        theirs: dict[str, Tensor] = {}
        with listening(self._network, {pair.teacher.layer: pair for pair in self.pairs}, theirs.__setitem__):
            answers = self.teacher.ask(batch.x)
        total = self.objective(logits, answers, batch.targets)
        for pair, regressor in zip(self.pairs, self._regressors, strict=True):
            ours = pair.student.read(self._seen[pair.student.layer])
            wanted = pair.teacher.read(theirs[pair.teacher.layer])
            if self.kind == "features":
                total = total + self.weight * feature_hint(ours, wanted, regressor)
            else:
                total = total + self.weight * attention_hint(ours, wanted)
        return total

    def fingerprint(self) -> str:
        """A hash of the teacher, the settings, the pairs and the regressors as they are now."""
        settings = f"{self.teacher.identity} {self.objective} {self.kind} {self.weight} {self.pairs}"
        weights = [weight.detach().cpu().numpy().tobytes() for weight in self._regressors.parameters()]
        return hashlib.sha256(settings.encode() + b"".join(weights)).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """The regressors' weights."""
        return {"regressors": self._regressors.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with these regressors."""
        self._regressors.load_state_dict(state["regressors"])


@contextmanager
def hints(
    student: nn.Module,
    teacher: Teacher,
    bundle: ModelBundle,
    context: Context,
    objective: Objective,
    *,
    kind: HintName,
    weight: float,
) -> Iterator[Hints]:
    """Hints for networks of the student's form; whoever was attached is left clean afterwards.

    Regressors, drawn by the context's seed, do not disturb the order of batches. Raises `CannotCompose` where the
    teacher's feature maps cannot be reached or do not correspond to any of the student's.
    """
    if teacher.network is None:
        raise CannotCompose(
            "Hints from finished variants",
            expected="a teacher whose layers can be read, and an exported file gives its answers only",
            action="Set hints to none, or choose no variants as teachers",
        )
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.train.pixels[:_EXAMPLES])).to(context.device.id)
    pairs = pairs_of(on_device(student, context), teacher.network, x)
    with torch_state(context):
        regressors = nn.ModuleList(_regressor(pair, kind) for pair in pairs).to(context.device.id)
    found = Hints(teacher, objective, pairs, regressors, kind=kind, weight=weight)
    try:
        yield found
    finally:
        found.detach()


def _regressor(pair: Pair, kind: HintName) -> nn.Module:
    """From the student's channels to the teacher's; attention needs none."""
    if kind == "attention":
        return nn.Identity()
    convolution = nn.Conv1d if len(pair.student.size) == 1 else nn.Conv2d
    return convolution(pair.student.channels, pair.teacher.channels, kernel_size=1)


def in_words(pairs: tuple[Pair, ...]) -> str:
    """`features.4 ← features.4 (28x28)`: the student's layers, and those of the teacher that they follow."""

    def size(one: FeatureMap) -> str:
        return "x".join(map(str, one.size)) + ("" if len(one.size) == 2 else " tokens")

    return ", ".join(f"{pair.student.layer} ← {pair.teacher.layer} ({size(pair.teacher)})" for pair in pairs)
