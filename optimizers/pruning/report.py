"""What a cut did, layer by layer. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core.bundle import ModelBundle
from core.data import Contract
from core.macs import count_macs
from core.packed import Packed
from core.pruning import ChannelGroup, InputPart, PrunedLayer, PruningReport
from optimizers.pruning.channels import Cut, Joined, Ranking
from optimizers.pruning.ranking import Indices, Ranked, Scores
from optimizers.quantization.selection import KINDS, kind_of

_MOST_IMPORTANT = 4000.0
"""Scores beyond it are cut off: so many times the mean of its group, a channel goes last in any case."""
_NAMED = 4
_IMPORTANCES = {
    "l2": "magnitude (L2)",
    "l1": "magnitude (L1)",
    "lamp": "LAMP",
    "bn_scale": "BatchNorm scale",
    "taylor": "Taylor (gradients)",
    "hessian": "Hessian (squared gradients)",
    "random": "random",
}


@dataclass(frozen=True)
class Count:
    """A layer, or the products of an attention block, in numbers."""

    kind: str
    inputs: int
    outputs: int
    macs: int
    """For one image."""
    parameters: int
    follows_inputs: bool
    """Whether its arithmetic shrinks with its inputs, apart from its outputs."""


def report_of(
    bundle: ModelBundle, pruned: nn.Module, cut: Cut, ranking: Ranking, left: Mapping[str, Indices]
) -> PruningReport:
    """What became of the bundle's network; `left` are the channels of before that each group of `ranking` kept."""
    networks = bundle.module, pruned
    before, after = (counts(network, bundle.contract) for network in networks)
    macs = [count_macs(network, bundle.contract) for network in networks]
    parameters = [sum(weight.numel() for weight in network.parameters()) for network in networks]
    groups = tuple(_group(group, left[group.layers[0]], cut) for group in ranking.groups)
    places = {name: place for place, group in enumerate(groups) for name in group.layers}
    reasons = {**ranking.why_kept, **_unchanged(ranking, groups, cut)}
    return PruningReport(
        importance=_IMPORTANCES[cut.importance],
        everywhere_alike=cut.everywhere_alike,
        ratio=cut.ratio,
        round_to=cut.round_to,
        max_ratio=cut.max_ratio,
        staggered=cut.staggered,
        groups=groups,
        layers=tuple(
            _layer(name, before[name], after[name], places.get(name), _parts(name, before[name], ranking), reasons)
            for name in before
        ),
        macs_before=macs[0],
        macs_after=macs[1],
        parameters_before=parameters[0],
        parameters_after=parameters[1],
    )


def counts(network: nn.Module, contract: Contract) -> dict[str, Count]:
    """The layers by name in the order of execution, and the modules that multiply beside their layers: attention."""
    network = copy.deepcopy(network).cpu().eval().requires_grad_()
    order: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        module.register_forward_pre_hook(lambda module, _args, name=name: order.update({name: module}))
    macs = _own_macs(network, contract)
    return {
        name: _count(module, macs.get(name, 0))
        for name, module in order.items()
        if isinstance(module, KINDS) or macs.get(name, 0) > 0
    }


def _own_macs(network: nn.Module, contract: Contract) -> dict[str, int]:
    """Multiply-accumulates of one image by module, those of modules inside it left out."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.from_numpy(contract.example(1)))
    found = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items() if name != "Global"}
    own = dict(found)
    for name, macs in found.items():
        around = name.rpartition(".")[0]
        while around and around not in found:
            around = around.rpartition(".")[0]
        if around:
            own[around] -= macs
    # The counter puts the class of the network before every name.
    return {name.partition(".")[2]: macs for name, macs in own.items()}


def _count(module: nn.Module, macs: int) -> Count:
    own = sum(weight.numel() for weight in module.parameters(recurse=False))
    if not isinstance(module, KINDS):
        width = getattr(module, "num_heads", 0) * getattr(module, "head_dim", 0)
        return Count("attention products" if width else "products", width, width, macs, own, follows_inputs=False)
    outputs, inputs = (len(module.weight), module.weight.shape[1] * getattr(module, "groups", 1))
    return Count(kind_of(module), inputs, outputs, macs, own, follows_inputs=not kind_of(module).startswith("depth"))


def _group(group: Joined, left: Indices, cut: Cut) -> ChannelGroup:
    ranked = group.ranked
    return ChannelGroup(
        layers=group.layers,
        before=ranked.before,
        after=len(left),
        importance=Packed.of(np.clip(_as_ranked(ranked), 0, _MOST_IMPORTANT), "<u4", 1_000_000),
        removed=Packed.of(np.setdiff1d(np.arange(ranked.before), left), "<u4"),
        multiple=ranked.unit_width * ranked.step(cut.round_to),
        parts=ranked.parts,
        whole=ranked.whole,
    )


def _as_ranked(ranked: Ranked) -> Scores:
    """float [channels]: the score of the unit that each channel belongs to."""
    return np.repeat(ranked.units, ranked.unit_width) if ranked.whole else np.tile(ranked.units, ranked.parts)


def _parts(name: str, count: Count, ranking: Ranking) -> tuple[InputPart, ...]:
    if not count.follows_inputs:
        return ()
    shares = [
        (place, share) for place, group in enumerate(ranking.groups) for layer, share in group.inputs if layer == name
    ]
    rest = 1 - sum(share for _, share in shares)
    parts = tuple(InputPart(group=place, share=share) for place, share in shares)
    return (*parts, InputPart(group=None, share=rest)) if rest > 1e-9 else parts


def _layer(
    name: str, before: Count, after: Count, place: int | None, parts: tuple[InputPart, ...], reasons: Mapping[str, str]
) -> PrunedLayer:
    return PrunedLayer(
        name=name,
        kind=before.kind,
        inputs_before=before.inputs,
        inputs_after=after.inputs,
        outputs_before=before.outputs,
        outputs_after=after.outputs,
        macs_before=before.macs,
        macs_after=after.macs,
        parameters_before=before.parameters,
        parameters_after=after.parameters,
        out_group=place,
        in_parts=parts,
        why_kept=reasons.get(name, ""),
    )


def _unchanged(ranking: Ranking, groups: Sequence[ChannelGroup], cut: Cut) -> dict[str, str]:
    """Why layers whose channels could have gone kept them all."""
    reasons: dict[str, str] = {}
    for joined, group in zip(ranking.groups, groups, strict=True):
        if group.after < group.before:
            continue
        is_narrow = group.before <= group.multiple
        multiple = f"Too narrow for a multiple of {cut.round_to} at this ratio"
        fine = "Too narrow to lose a channel at this ratio" if cut.everywhere_alike else "Others matter less"
        reasons |= dict.fromkeys(joined.layers, multiple if is_narrow and group.multiple > 1 else fine)
    return reasons


def told(report: PruningReport) -> str:
    """Parameters, multiply-accumulates and widths before and after, in words."""
    parameters, macs = (report.parameters_before, report.parameters_after), (report.macs_before, report.macs_after)
    widths = (f"{each.name} {each.outputs_before} → {each.outputs_after}" for each in report.layers if _shrank(each))
    return (
        f"Parameters {parameters[0]:,} → {parameters[1]:,} ({parameters[1] / parameters[0] - 1:+.0%}), "
        f"multiply-accumulates {macs[0]:,} → {macs[1]:,} ({macs[1] / macs[0] - 1:+.0%}). "
        f"Channels: {', '.join(widths)}."
    )


def told_kept(report: PruningReport) -> str:
    """Which layers kept all their outputs and why, in words; empty where none did."""
    by_reason: dict[str, list[str]] = {}
    for layer in report.layers:
        if layer.why_kept:
            by_reason.setdefault(layer.why_kept, []).append(layer.name)
    sentences = (f"{_listed(names)} ({_lowered(reason)})" for reason, names in by_reason.items())
    return f"Kept all their outputs: {'; '.join(sentences)}." if by_reason else ""


def _shrank(layer: PrunedLayer) -> bool:
    return layer.outputs_after < layer.outputs_before and not layer.kind.endswith("products")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
