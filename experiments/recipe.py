"""What to do, as plain data: model, ordered techniques, runtime, device, measurement and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from core.bundle import Situation
from core.devices import find_device
from core.errors import BadInput, CannotCompose, StudioError, Unavailable
from core.settings import choice, slider
from experiments.fitting import refuse_foreign, refuse_known, untouched
from experiments.models import baseline_runtime, is_here, offered, untouched_title
from experiments.other_teachers import why_no_teacher
from optimizers import TECHNIQUES
from optimizers.technique import Technique
from runtimes import RUNTIMES, EngineSettings, Runtime, with_settings

GRAPHABLE = ("pytorch", "tensorrt")
"""Runtimes whose inference can be recorded as a CUDA graph; torch.compile replays graphs of its own."""

CONTROL = "keras_fine_tuning"
"""The technique of the control beside recipes that train a model of Keras."""

LONGEST_TEXT = 20_000
"""Characters of a recipe file: some thirty times what the longest recipe needs."""

DEEPEST_NESTING = 10


class MeasurementSettings(BaseModel):
    """How a variant is measured; the same for every variant of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = slider(
        1,
        low=1,
        high=256,
        step=1,
        title="Batch size",
        unit="images",
        help="Images per inference when latency is timed.",
    )
    latency_seconds: float = slider(
        5,
        low=1,
        high=60,
        step=1,
        title="Time for latency",
        unit="s",
        help="Longest time spent on timing. Measuring stops earlier once the spread has settled.",
        advanced=True,
    )
    sweep_seconds: float = slider(
        6,
        low=0,
        high=60,
        step=1,
        title="Time for batch sizes",
        unit="s",
        help="Time spent on batches of 1, 2, 4 and so on, to find the highest throughput. 0 leaves it out.",
        advanced=True,
    )
    cuda_graph: bool = choice(
        False,
        title="CUDA graph",
        help="On a GPU, time the replay of a recorded graph: what is left when the host no longer launches every "
        "operation. PyTorch and TensorRT only.",
        advanced=True,
    )
    threads: int = slider(
        0,
        low=0,
        high=256,
        step=1,
        title="CPU threads",
        unit="threads",
        help="0 uses all cores but one, which keeps this page responsive.",
        advanced=True,
    )


class Recipe(BaseModel):
    """One variant to make and measure. The same recipe on the same machine gives the same model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: str = Field("", max_length=120)
    model: str
    techniques: tuple[Technique, ...] = ()
    runtime: str = "pytorch"
    engine: EngineSettings = Field(EngineSettings(), validate_default=True)
    """How the runtime builds and opens; of the runtime's own class."""
    device: str = "cpu"
    measurement: MeasurementSettings = MeasurementSettings()
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @field_validator("techniques", mode="before")
    @classmethod
    def _read_techniques(cls, entries: Any) -> tuple[Technique, ...]:
        if not isinstance(entries, Iterable) or isinstance(entries, str | bytes | dict):
            raise ValueError("techniques must be a list of `technique: settings` entries")
        return tuple(entry if isinstance(entry, Technique) else _read_technique(entry) for entry in entries)

    @field_validator("engine", mode="before")
    @classmethod
    def _read_engine(cls, given: Any, info: ValidationInfo) -> EngineSettings:
        runtime = RUNTIMES.get(info.data.get("runtime", ""))
        if runtime is None:  # is refused by its name, elsewhere
            return EngineSettings()
        kind: type[EngineSettings] = type(runtime.settings)
        if isinstance(given, EngineSettings):
            return given if type(given) is kind else kind.model_validate(given.model_dump())
        return kind.model_validate(given or {})

    @field_serializer("engine")
    def _write_engine(self, engine: EngineSettings) -> dict[str, Any]:
        return engine.model_dump(mode="json", exclude_defaults=True)

    @field_serializer("techniques")
    def _write_techniques(self, techniques: tuple[Technique, ...]) -> list[dict[str, Any]]:
        return [{technique.key: technique.model_dump(mode="json")} for technique in techniques]

    @property
    def title(self) -> str:
        """The given name, or what was done and where it runs."""
        done = [technique.label() for technique in self.techniques] or [untouched_title(self.model)]
        engine = self.engine.label()
        return self.name or " + ".join(done) + " · " + RUNTIMES[self.runtime].title + (f" {engine}" if engine else "")

    @property
    def is_baseline(self) -> bool:
        """Whether this is the untouched model where it runs as it was brought: what every variant is compared with."""
        runtime = baseline_runtime(self.model)
        return not self.techniques and self.runtime == runtime and self.engine == RUNTIMES[runtime].settings

    @property
    def models(self) -> tuple[str, ...]:
        """Keys of all models that it takes, its own first."""
        return (self.model, *(key for technique in self.techniques for key in technique.other_models()))

    @property
    def configured_runtime(self) -> Runtime:
        """Its runtime, with the settings of its engine."""
        return with_settings(RUNTIMES[self.runtime], self.engine)

    @property
    def is_timed(self) -> bool:
        """Whether what it makes can be served here, so that it has a latency, a memory and an accuracy."""
        return not self.is_simulated and not self.engine.builds_ahead

    @property
    def is_simulated(self) -> bool:
        """Whether it only computes as if in another number format, so that nothing but accuracy can be measured."""
        return any(technique.simulates for technique in self.techniques)

    @property
    def settings(self) -> str:
        """Where and how it is measured, as `device|batch|threads`, with `|graph` where a CUDA graph is replayed.

        Only variants that share it are comparable.
        """
        graph = "|graph" if self.measurement.cuda_graph else ""
        return f"{self.device}|{self.measurement.batch_size}|{self.measurement.threads}{graph}"

    @property
    def digest(self) -> str:
        """16 hex digits that two recipes share exactly when they ask for the same work.

        Settings that have their usual value are left out, so that a new one changes no recipe that lacks it.
        """
        content = self.model_dump(mode="json", exclude={"name", "techniques", "engine"}, exclude_defaults=True)
        if unusual := self._write_engine(self.engine):
            content["engine"] = unusual
        content["techniques"] = [
            {each.key: each.model_dump(mode="json", exclude_defaults=True)} for each in self.techniques
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _read_technique(entry: Any) -> Technique:
    key, settings = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
    if not isinstance(key, str) or key not in TECHNIQUES:
        raise ValueError(f"{entry!r} is not a technique; there are {', '.join(TECHNIQUES)}")
    technique: Technique = TECHNIQUES[key].model_validate(settings or {})
    return technique


def to_yaml(recipe: Recipe) -> str:
    """The recipe as a small YAML document."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def from_yaml(text: str) -> Recipe:
    """The recipe in `text`. Raises `BadInput` naming each field that is wrong."""
    action = "Start from a recipe saved by the Optimise page"
    if len(text) > LONGEST_TEXT:
        raise BadInput(f"The recipe has {len(text):,} characters", expected=f"at most {LONGEST_TEXT:,}", action=action)
    try:
        _refuse_bombs(text)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"The recipe is not YAML: {error}", action=action) from None
    if not isinstance(content, dict):
        raise BadInput(f"The recipe is a {type(content).__name__}", expected="a mapping with at least `model`")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise BadInput("The recipe has " + "; ".join(_explain(error)), action="Correct these fields") from None
    if not is_here(recipe.model):
        raise BadInput(f"The recipe's model is {recipe.model}", expected=" or ".join(offered()))
    if recipe.runtime not in RUNTIMES:
        raise BadInput(f"The recipe's runtime is {recipe.runtime}", expected=" or ".join(RUNTIMES))
    return recipe


def _refuse_bombs(text: str) -> None:
    """Raises `BadInput` for what would grow or nest without end when it is read."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING or isinstance(event, yaml.AliasEvent):
            found = "refers to parts of itself (`*name`)" if depth <= DEEPEST_NESTING else "is nested too deeply"
            raise BadInput(f"The recipe {found}", expected="plain values", action="Write its values out")


def _explain(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, item['loc'])) or 'recipe'}: {item['msg']}" for item in error.errors()]


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
    for number, technique in enumerate(recipe.techniques):
        refuse_foreign(type(technique), situation)
        refuse_known(recipe.model, technique.key, recipe.runtime, recipe.techniques[:number])
        if technique.key in situation.applied:
            raise CannotCompose(f"{technique.title} stands twice in the recipe", action="Keep one of them")
        if any(TECHNIQUES[key].simulates for key in situation.applied):
            raise CannotCompose(f"{technique.title} after a simulation", action="Make the simulation the last step")
        situation = technique.check(situation)
        for teacher in technique.other_models():
            if reason := why_no_teacher(teacher, recipe.model):
                raise CannotCompose(reason)
    if recipe.is_simulated and recipe.engine.builds_ahead:
        raise CannotCompose(
            "an engine built ahead from a simulation",
            expected="a network that computes in the format it has",
            action="Choose another runtime, or leave out the simulation",
        )
    refuse_known(recipe.model, recipe.runtime, recipe.runtime, recipe.techniques)
    runtime.check(situation)
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


def baseline_of(recipe: Recipe) -> Recipe:
    """The untouched model measured the same way: in eager PyTorch, or in ONNX Runtime where it is an ONNX graph."""
    return in_runtime(recipe.model_copy(update={"techniques": ()}), baseline_runtime(recipe.model))


def baseline_title(model: str) -> str:
    """What every variant of the model is compared with, in words: `FP32 in PyTorch`."""
    return f"{untouched_title(model)} in {RUNTIMES[baseline_runtime(model)].title}"


def in_runtime(recipe: Recipe, key: str) -> Recipe:
    """The same work for another runtime, with the settings its engine usually has, and without a name."""
    return recipe.model_copy(update={"name": "", "runtime": key, "engine": RUNTIMES[key].settings})


def reference_of(recipe: Recipe) -> Recipe:
    """The untouched model in the recipe's own runtime: what the techniques alone are compared with."""
    return recipe.model_copy(update={"name": "", "techniques": ()})


def fine_tuned_control(recipe: Recipe) -> Recipe | None:
    """The untouched model trained on in FP32, in one training, in the recipe's own runtime.

    Of models of Keras whose recipe trains: what a technique gained or cost is told from what the training alone did.
    It has the sum of the recipe's epochs, at the highest of its learning rates, all else as its first training, and its
    seed: `experiments.training_on` says in what that is not how the recipe
    trains. None for any other recipe, and where the model cannot be trained on.
    """
    plain = TECHNIQUES.get(CONTROL)
    trainings = [each for each in recipe.techniques if plain and each.takes == plain.takes and hasattr(each, "epochs")]
    if plain is None or not trainings:
        return None
    technique = _as_long_as(plain, trainings)
    control = reference_of(recipe).model_copy(update={"techniques": (technique,)})
    named = control.model_copy(update={"name": f"{control.title} (control)"})
    return None if why_refused(named, CannotCompose) else named


def _as_long_as(plain: type[Technique], trainings: Sequence[Any]) -> Technique:
    """One training in place of all of these."""
    shared = {name: getattr(trainings[0], name) for name in plain.model_fields if hasattr(trainings[0], name)}
    epochs = sum(each.epochs for each in trainings)
    rate = max(each.learning_rate for each in trainings)
    return plain.model_validate(shared | {"epochs": epochs, "learning_rate": rate})


def with_references(recipe: Recipe) -> list[Recipe]:
    """Baseline first, then the recipe, its reference and, where it trains a model of Keras, its control; each once.

    Alone what is built ahead: nothing is timed.
    """
    if recipe.engine.builds_ahead:
        return [recipe]
    control = fine_tuned_control(recipe)
    recipes = [baseline_of(recipe), recipe, reference_of(recipe), *([control] if control else [])]
    return list(({each.digest: each for each in recipes} | {recipe.digest: recipe}).values())
