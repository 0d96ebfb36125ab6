"""Cutting and fine-tuning in turns, down to a ratio or a speed-up. Imports torch: import it inside functions only.

Cutting a little, training and cutting again: Han et al. 2015, https://arxiv.org/abs/1506.02626, and Molchanov
et al. 2016, https://arxiv.org/abs/1611.06440: what matters is judged anew by the network as it is by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from core.bundle import ModelBundle
from core.errors import BadInput, NothingDone
from core.macs import count_macs
from core.progress import Metric, Note, Progress, Steps
from core.pruning import PruningReport, RatioPoint, Round, Search, Target
from optimizers.pruning.channels import Cut, Ranking, narrowed, rank
from optimizers.pruning.judge import Judge
from optimizers.pruning.kept_search import KeptSearch
from optimizers.pruning.ranking import Indices
from optimizers.pruning.report import report_of
from optimizers.pruning.search import (
    LATENCY_TOLERANCE,
    MACS_TOLERANCE,
    MOST_COUNTED,
    MOST_TIMED,
    Aim,
    SpeedUp,
    by_latency,
    by_macs,
    search,
)
from optimizers.state import torch_state
from optimizers.teaching.guidance import Guidance
from optimizers.technique import Context
from optimizers.training.loop import Plan, train
from optimizers.training.recovery import ask_original

SCANNED = tuple(step / 10 for step in range(1, 10))
_RATIOS = tuple(step / 100 for step in range(95, 0, -1))
"""From the highest one that a search tries."""


@dataclass(frozen=True)
class Schedule:
    """How far to cut, in how many rounds, and what comes after each."""

    target: Target
    speed_up: float
    """Wanted where the target is not the ratio of the cut."""
    rounds: int
    plan: Plan | None
    """Of the training after each cut; None for none."""
    guidance: float
    scan: bool
    """Whether to judge cuts at every ratio too."""
    renew: bool = False
    """Whether BatchNorm's statistics are taken anew after each cut."""


@dataclass(frozen=True, eq=False)
class State:
    """A network between two cuts."""

    network: nn.Module
    ranking: Ranking
    left: dict[str, Indices]
    """For each group the channels of before the first cut that are left."""
    before: dict[str, int]
    """For each group its channels before the first cut."""

    def cut(self, bundle: ModelBundle, cut: Cut) -> State:
        """The narrower network; its ranking is still that of the wider one."""
        gone = dict(zip(self.ranking.leads, self.ranking.removals(cut.rule), strict=True))
        left = {lead: np.delete(kept, gone.get(lead, ())) for lead, kept in self.left.items()}
        return replace(self, network=narrowed(self.network, bundle.contract, cut, gone), left=left)

    def ranked_anew(self, network: nn.Module, bundle: ModelBundle, cut: Cut) -> State:
        """The same channels in a network whose weights have changed; groups that were not known at first stay whole."""
        found = rank(network, bundle, cut)
        groups = tuple(
            replace(group, ranked=replace(group.ranked, before=self.before[group.layers[0]]))
            for group in found.groups
            if group.layers[0] in self.before
        )
        return replace(self, network=network, ranking=replace(found, groups=groups))


def prune_in_rounds(
    bundle: ModelBundle, context: Context, cut: Cut, schedule: Schedule
) -> Steps[tuple[nn.Module, PruningReport]]:
    """The narrower network on the CPU, and what was done to it; the ratio of `cut` counts where it is the target.

    After round k of n the share (1 - ratio)^(k / n) of the channels is left. Raises `NothingDone` where every layer
    kept its width, `BadInput` for a ratio that empties a layer and for a speed-up that cannot be had.
    """
    yield Progress(done=0, total=1, unit="cuts", doing="ranking the channels")
    with torch_state(context):
        ranking = rank(bundle.module, bundle, cut)
    before = {group.layers[0]: group.ranked.before for group in ranking.groups}
    state = State(bundle.module, ranking, {lead: np.arange(width) for lead, width in before.items()}, before)
    cut, found = yield from _aimed(state, bundle, context, cut, schedule)
    if not any(len(gone) for gone in ranking.removals(cut.rule)):
        raise NothingDone("No layer is wide enough to lose a channel at this ratio", action="Raise the pruning ratio")
    judge = Judge(bundle, context)
    scanned = (yield from _scan(state, bundle, context, cut, judge)) if schedule.scan else ()
    teacher = yield from _teacher(bundle, context, schedule)
    rounds: list[Round] = []
    for number in range(schedule.rounds):
        if number:
            with torch_state(context):
                state = state.ranked_anew(state.network, bundle, cut)
        is_last = number == schedule.rounds - 1
        if is_last and number and not cut.everywhere_alike:
            # The ranking is another one by now, and the ratio of before would miss the aim.
            gone = _ratio_after(cut, schedule, number)
            cut, found = yield from _aimed(state, bundle, context, cut, schedule, so_far=gone)
        with torch_state(context):
            state = state.cut(bundle, cut if is_last else replace(cut, ratio=_ratio_after(cut, schedule, number + 1)))
        if schedule.renew:
            state = replace(state, network=judge.renewed(state.network))
        tuned = yield from _tuned(state.network, bundle, context, schedule, number=number, teacher=teacher)
        with torch_state(context):
            rounds.append(_round(state, tuned, bundle, judge))
        state = replace(state, network=tuned)
    with torch_state(context):
        report = report_of(bundle, state.network, cut, ranking, state.left)
    return state.network, report.model_copy(update={"scan": scanned, "search": found, "rounds": tuple(rounds)})


def _ratio_after(cut: Cut, schedule: Schedule, rounds: int) -> float:
    return 1 - float((1 - cut.ratio) ** (rounds / schedule.rounds))


def _teacher(bundle: ModelBundle, context: Context, schedule: Schedule) -> Steps[Guidance | None]:
    if schedule.plan is None:
        return None
    return (yield from ask_original(bundle, context, schedule.guidance, schedule.plan.augmentation))


def _round(state: State, tuned: nn.Module, bundle: ModelBundle, judge: Judge) -> Round:
    return Round(
        ratio=1 - sum(map(len, state.left.values())) / sum(state.before.values()),
        macs=count_macs(state.network, bundle.contract),
        correct_after_cut=judge.correct(state.network),
        correct_after_tuning=None if tuned is state.network else judge.correct(tuned),
        images=len(judge),
    )


def _tuned(
    network: nn.Module,
    bundle: ModelBundle,
    context: Context,
    schedule: Schedule,
    *,
    number: int,
    teacher: Guidance | None,
) -> Steps[nn.Module]:
    """The network after this round's training, told as a part of all trainings; the network itself without a plan."""
    if schedule.plan is None:
        return network
    training, steps = train(network, bundle, context, schedule.plan, guidance=teacher), 0.0
    while True:
        try:
            event = next(training)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if isinstance(event, Progress) and event.unit == "steps" and schedule.rounds > 1:
            steps = event.total
            part = {"done": event.done + number * steps, "total": schedule.rounds * steps}
            event = event.model_copy(update={**part, "doing": f"round {number + 1}, {event.doing}"})
        elif isinstance(event, Metric):
            event = event.model_copy(update={"step": event.step + number * steps})
        yield event


def _scan(state: State, bundle: ModelBundle, context: Context, cut: Cut, judge: Judge) -> Steps[tuple[RatioPoint, ...]]:
    """The network cut at once at rising ratios, with BatchNorm's statistics taken anew: with the old ones all networks
    look alike useless. Ends where a ratio leaves nothing of a layer.
    """
    if not len(judge):
        yield Note(text="The accuracy at every ratio is left out: no calibration image has a label.")
        return ()
    points = []
    for number, ratio in enumerate(SCANNED, start=1):
        yield Progress(done=number, total=len(SCANNED), unit="ratios", doing=f"judging a cut of {ratio:.0%}")
        try:
            with torch_state(context):
                network = state.cut(bundle, replace(cut, ratio=ratio)).network
                macs = count_macs(network, bundle.contract)
        except BadInput:
            break
        correct = judge.correct(judge.renewed(network))
        points.append(RatioPoint(ratio=ratio, macs=macs, correct=correct, images=len(judge)))
    return tuple(points)


def _aimed(
    state: State, bundle: ModelBundle, context: Context, cut: Cut, schedule: Schedule, so_far: float = 0.0
) -> Steps[tuple[Cut, Search | None]]:
    """The cut with the ratio that reaches the target, and how it was found, be it by an attempt that was killed."""
    if schedule.target == "ratio":
        return cut, None
    _require_serving(context, schedule.target)
    aim = _aim(schedule)
    parts = (state.network, cut, schedule.target, aim.wanted, so_far, context.runtime)
    kept = KeptSearch(context.folder, parts)
    found = kept.read()
    if found is None:
        found = yield from _searched(state, bundle, context, cut, schedule.target, aim, so_far)
        kept.write(found)
    else:
        yield Note(text=f"The ratio of {found.points[-1].ratio:.3f}, found before the interruption, is kept.")
    taken = found.points[-1]
    what = "times the speed, as served" if found.target == "latency" else "times fewer multiply-accumulates"
    is_near = abs(taken.value / aim.wanted - 1) <= aim.tolerance
    nearer = "" if is_near else " No candidate came nearer; smaller multiples or one ranking for all offer more."
    yield Note(text=f"{aim.wanted:g} {what}: a ratio of {taken.ratio:.3f} gives {taken.value:.2f}.{nearer}")
    return replace(cut, ratio=taken.ratio), found


def _aim(schedule: Schedule) -> Aim:
    is_timed = schedule.target == "latency"
    tolerance, most = (LATENCY_TOLERANCE, MOST_TIMED) if is_timed else (MACS_TOLERANCE, MOST_COUNTED)
    return Aim(schedule.speed_up, tolerance, most)


def _searched(
    state: State, bundle: ModelBundle, context: Context, cut: Cut, target: Target, aim: Aim, so_far: float
) -> Steps[Search]:
    """Candidates cut and measured until the ratio is found."""

    def candidate(ratio: float) -> nn.Module:
        with torch_state(context):
            return state.cut(bundle, replace(cut, ratio=ratio)).network

    with _speed_up(bundle, context, target) as speed_up:
        points = yield from search(
            aim,
            lambda ratio: speed_up(candidate(ratio)),
            highest=_highest(state.ranking, cut),
            widths=lambda ratio: state.ranking.widths(replace(cut, ratio=ratio).rule),
            low=so_far,
        )
    return Search(target=target, wanted=aim.wanted, points=points)


def _require_serving(context: Context, target: Target) -> None:
    if target == "latency" and context.serve is None:
        raise BadInput(
            "A measured speed-up as the target, where nothing can be served",
            expected="a run with a runtime, which times the candidates",
            action="Aim for a share of the channels or for fewer multiply-accumulates",
        )


@contextmanager
def _speed_up(bundle: ModelBundle, context: Context, target: Target) -> Iterator[SpeedUp]:
    if target == "latency" and context.serve is not None:
        with by_latency(bundle, context.serve) as speed_up:
            yield speed_up
    else:
        yield _fewer_macs(bundle, context)


def _fewer_macs(bundle: ModelBundle, context: Context) -> SpeedUp:
    with torch_state(context):
        counted = by_macs(bundle)

    def speed_up(network: nn.Module) -> float:
        with torch_state(context):
            return counted(network)

    return speed_up


def _highest(ranking: Ranking, cut: Cut) -> float:
    """The highest ratio that leaves something of every layer."""
    for ratio in _RATIOS:
        try:
            ranking.removals(replace(cut, ratio=ratio).rule)
        except BadInput:
            continue
        return ratio
    return _RATIOS[-1]
