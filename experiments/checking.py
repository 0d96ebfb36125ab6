"""Whether a recipe can run, and if not, why: it is walked step by step without loading anything."""

from __future__ import annotations

from core.bundle import Situation
from core.devices import Device, find_device
from core.errors import CannotCompose, StudioError, Unavailable
from experiments.fitting import refuse_foreign, refuse_known, untouched
from experiments.other_teachers import why_no_teacher
from experiments.recipe import Recipe
from optimizers import TECHNIQUES
from runtimes import Runtime

GRAPHABLE = ("pytorch", "tensorrt")
"""Runtimes whose inference can be recorded as a CUDA graph; torch.compile replays graphs of its own."""


def check(recipe: Recipe) -> Situation:
    """Walk the recipe without loading anything; the situation at its end.

    Raises `CannotCompose` or `Unavailable` with the reason of the first step that does not fit.
    """
    device = find_device(recipe.device)
    runtime = recipe.configured_runtime
    situation = untouched(recipe.model, recipe.runtime, recipe.engine.target(device))
    if situation.brought_as != "torch":
        runtime.check(situation)  # no technique makes of it what another runtime could take
    if reason := runtime.why_unavailable(device):
        raise Unavailable(reason)
    for number in range(len(recipe.techniques)):
        situation = _after_step(recipe, number, situation)
    _check_runtime(recipe, runtime, situation)
    _check_measurement(recipe, runtime, device)
    return situation


def why_refused(recipe: Recipe, kind: type[StudioError] = StudioError) -> str:
    """The reason of that kind why the recipe cannot run; empty where there is none.

    With `CannotCompose` only what fits together nowhere is refused, not what this machine lacks.
    """
    try:
        check(recipe)
    except kind as error:
        return str(error)
    except StudioError:
        return ""
    return ""


def _after_step(recipe: Recipe, number: int, before: Situation) -> Situation:
    """The situation after the technique of that number, from 0. Raises `CannotCompose` where it does not fit."""
    technique = recipe.techniques[number]
    refuse_foreign(type(technique), before)
    refuse_known(recipe.model, technique.key, recipe.runtime, recipe.techniques[:number])
    if technique.key in before.applied:
        raise CannotCompose(f"{technique.title} stands twice in the recipe", action="Keep one of them")
    if any(TECHNIQUES[key].simulates for key in before.applied):
        raise CannotCompose(f"{technique.title} after a simulation", action="Make the simulation the last step")
    after = technique.check(before)
    for teacher in technique.other_models():
        if reason := why_no_teacher(teacher, recipe.model):
            raise CannotCompose(reason)
    return after


def _check_runtime(recipe: Recipe, runtime: Runtime, situation: Situation) -> None:
    """Raises `CannotCompose` where the runtime cannot take what the techniques made."""
    if recipe.is_simulated and recipe.engine.builds_ahead:
        raise CannotCompose(
            "an engine built ahead from a simulation",
            expected="a network that computes in the format it has",
            action="Choose another runtime, or leave out the simulation",
        )
    refuse_known(recipe.model, recipe.runtime, recipe.runtime, recipe.techniques)
    runtime.check(situation)


def _check_measurement(recipe: Recipe, runtime: Runtime, device: Device) -> None:
    """Raises `CannotCompose` where the engine cannot be measured as the recipe says."""
    most = getattr(recipe.engine, "largest_batch", None)
    if recipe.is_timed and most and recipe.measurement.batch_size > most:
        raise CannotCompose(
            f"measuring batches of {recipe.measurement.batch_size} images with an engine built for at most {most}",
            expected="a batch that it takes",
            action="Raise the largest batch of the engine, or measure a smaller one",
        )
    if recipe.measurement.cuda_graph and (device.kind != "cuda" or recipe.runtime not in GRAPHABLE):
        raise CannotCompose(
            f"a CUDA graph in {runtime.title} on {device.id}",
            expected="a GPU, with PyTorch or TensorRT as the runtime",
            action="Switch the CUDA graph off under Measurement",
        )
