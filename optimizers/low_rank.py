"""Low-rank factorisation: a layer becomes the product of two thinner ones where that saves arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose, NothingDone
from core.low_rank import FactorisedLayer, LowRankReport, cumulative_energy, largest_saving_rank
from core.progress import Note, Progress, Steps
from core.settings import choice, names, slider
from optimizers.fit import refuse_repetition, require_arithmetic, require_trainable, require_training_images
from optimizers.technique import Context, Technique
from optimizers.training.settings import FineTuning

_ZEROS = ("magnitude_pruning", "two_four")
_LOWEST = 0.5
"""The least energy that can be asked for."""
_NAMED = 8
"""Layers that are named one by one."""


class LowRank(FineTuning, Technique):
    """Splits layers along their strongest directions, then fine-tunes the result."""

    key: ClassVar[str] = "low_rank"
    title: ClassVar[str] = "Low-rank factorisation"
    summary: ClassVar[str] = (
        "Splits linear layers and 1x1 convolutions into two thinner ones, then trains briefly to recover what that "
        "cost."
    )
    learn: ClassVar[str] = (
        "A linear layer multiplies by a matrix of *out* rows and *in* columns. Its singular value decomposition sorts "
        "what the matrix does into directions, the strongest first. Often a few of them do nearly all: keeping *r* "
        "directions turns the layer into two, from *in* to *r* and from *r* to *out*, with r (in + out) "
        "multiplications instead of in × out. That saves only while r is below in × out / (in + out), half of the "
        "width of a square layer; layers that need more stay whole. The **energy** is the share of the squared "
        "singular values that is kept, and says which rank each layer gets. *Activation-aware*, it is the energy of "
        "what the layer puts out on calibration images: directions in which no input ever points cost nothing, so far "
        "lower ranks do, at a higher energy. It pays in transformers and other networks with wide linear layers; "
        "3x3 convolutions are left alone, and networks designed to be thin, such as EfficientNet, have little to give. "
        "Two small products take longer than their arithmetic says where launching them costs more than computing "
        "them. Sources: Denton et al. 2014, [arXiv:1404.0736](https://arxiv.org/abs/1404.0736); Yuan et al. 2023, "
        "*ASVD*, [arXiv:2312.05821](https://arxiv.org/abs/2312.05821); Wang et al. 2024, *SVD-LLM*, "
        "[arXiv:2403.07378](https://arxiv.org/abs/2403.07378)."
    )
    pays: ClassVar[str] = (
        "linear layers are wide, as in transformers: with half of its arithmetic left, the vision transformer sample "
        "ran 1.3 times as fast and lost 0.34 points."
    )
    pays_not: ClassVar[str] = (
        "most of the time goes into 3x3 convolutions, which stay as they are, or the network is thin by design, such "
        "as EfficientNet."
    )

    energy: float = slider(
        0.98,
        low=_LOWEST,
        high=0.999,
        step=0.001,
        title="Energy to keep",
        help="The share of the squared singular values that every layer keeps. Lower is smaller, faster and harder to "
        "recover. Activation-aware, 0.95 to 0.99 is usual; for plain weights 0.7 to 0.9, because above that most "
        "layers save nothing and stay whole.",
    )
    what: Literal["linear_and_pointwise", "linear"] = choice(
        "linear_and_pointwise",
        title="What to factorise",
        help="A 1x1 convolution is a linear layer at every position of the image and is factorised the same way. "
        "Larger kernels are never factorised here.",
        labels={"linear_and_pointwise": "Linear and 1x1", "linear": "Linear only"},
    )
    activation_aware: bool = choice(
        True,
        title="Activation-aware",
        help="Weighs directions by how much the calibration images use them, so that the error of what a layer puts "
        "out is smallest, rather than that of its weights. Needs one pass over at most 512 calibration images.",
    )
    epochs: int = slider(
        2,
        low=0,
        high=40,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images after factorising. 0 shows what it costs before recovery.",
    )
    keep: tuple[str, ...] = names(
        title="Keep whole",
        help="Layers that are not to be factorised, separated by commas: names such as `head`, patterns such as "
        "`blocks.0.*`, or kinds such as `Linear`.",
        advanced=True,
    )
    round_to: Literal[1, 4, 8] = choice(
        1,
        title="Round ranks to",
        help="Ranks become multiples of this, by keeping more if need be. GPUs and INT8 kernels like 8.",
        labels={"1": "any number", "4": "multiples of 4", "8": "multiples of 8"},
        advanced=True,
    )
    learning_rate: float = slider(
        0.0005,
        low=0.0001,
        high=0.01,
        step=0.0001,
        title="Learning rate",
        help="Peak of the learning rate while fine-tuning. Too low recovers slowly, too high forgets.",
        advanced=True,
    )
    guidance: float = slider(
        0.9,
        low=0,
        high=1,
        step=0.05,
        title="Guidance by the original",
        help="How much the unfactorised network's answers count while fine-tuning. 0 learns from the labels alone, 1 "
        "only from the original. Asking it costs two passes over the training images.",
        advanced=True,
    )

    def label(self) -> str:
        """`Low-rank 98 %`, with as many decimals as the energy has."""
        return f"Low-rank {self.energy * 100:.4g} %"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        if not set(_ZEROS).isdisjoint(situation.applied):
            raise CannotCompose(
                f"{self.title} of a network with zeros",
                expected="layers factorised first, because the product of two thinner ones has no zeros",
                action="Move pruning to zero after low-rank factorisation",
            )
        if self.epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
            require_arithmetic(situation, self.train_in)
            self.refuse_changing_texts(situation)
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The factorised, fine-tuned network. Raises `NothingDone` where no layer would save anything."""
        from optimizers.factorising import Wishes, factorise, packed_attention
        from optimizers.state import torch_state
        from optimizers.training.recovery import recover

        yield Progress(done=0, total=1, unit="layers", doing="decomposing")
        wishes = Wishes(self.energy, self.what == "linear", self.activation_aware, self.keep, self.round_to)
        with torch_state(context):
            network, report = yield from factorise(bundle, wishes)
        _require_some(report)
        yield from _what_changed(report, packed_attention(bundle.module))
        if self.epochs:
            plan = self.plan(self.epochs, self.learning_rate)
            network = yield from recover(network, bundle, context, plan, guidance=self.guidance)
        return replace(bundle, network=network, low_rank=report, applied=(*bundle.applied, self.key))


def _require_some(report: LowRankReport) -> None:
    """Raises `NothingDone` where every layer stayed whole, with the energy that would change that."""
    if report.factorised:
        return
    free = [layer for layer in report.layers if not layer.is_fixed]
    highest = {layer.name: _highest_saving(layer, report.round_to) for layer in free}
    energies = {name: energy for name, energy in highest.items() if energy >= _LOWEST}
    if not energies and any(highest.values()):
        name, energy = max(highest.items(), key=lambda item: item[1])
        raise NothingDone(
            f"No layer saves anything at an energy that is worth having: {name} comes first, below {energy:.3f}",
            action="Leave out low-rank factorisation",
        )
    if not energies:
        raise NothingDone(
            "There is no linear layer and no 1x1 convolution that a lower rank could make smaller",
            action="Keep fewer layers whole, or leave out low-rank factorisation",
        )
    first = max(energies, key=energies.__getitem__)
    action = f"Lower the energy to {int(energies[first] * 1000) / 1000:.3f}, where {first} begins to save"
    if not report.activation_aware:
        action += ", or switch activation-aware on"
    raise NothingDone(
        f"None of {len(report.layers)} layers saves anything at an energy of {report.energy:g}", action=action
    )


def _highest_saving(layer: FactorisedLayer, multiple: int) -> float:
    """The most energy that the layer keeps at a rank that saves; 0 where none does."""
    rank = largest_saving_rank(layer.inputs, layer.outputs, multiple=multiple)
    return float(cumulative_energy(layer.spectrum.array)[rank - 1]) if rank else 0.0


def _what_changed(report: LowRankReport, packed: tuple[str, ...]) -> Iterator[Note]:
    """Parameters and multiply-accumulates before and after, ranks, and what stayed whole."""
    ranks = [f"{layer.name} {layer.full_rank} → {layer.rank}" for layer in report.factorised]
    unnamed = f" and {len(ranks) - _NAMED} more" if len(ranks) > _NAMED else ""
    yield Note(
        text=f"Parameters {_change(report.parameters_before, report.parameters_after)}, multiply-accumulates "
        f"{_change(report.macs_before, report.macs_after)}. {len(report.factorised)} of {len(report.layers)} layers "
        f"factorised; ranks: {', '.join(ranks[:_NAMED])}{unnamed}."
    )
    whole = [f"{layer.name}: {layer.why_kept}" for layer in report.layers if layer.why_kept]
    whole += [f"{name}: one packed tensor for queries, keys and values, no layer of its own." for name in packed]
    if whole:
        more = f" And {len(whole) - _NAMED} more." if len(whole) > _NAMED else ""
        yield Note(text=f"{len(whole)} kept whole. {' '.join(whole[:_NAMED])}{more}")


def _change(before: int, after: int) -> str:
    return f"{before:,} → {after:,} ({after / before - 1:+.0%})"
