"""What to do, as plain data: model, ordered techniques, runtime, device, measurement and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_serializer, field_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from core.settings import choice, slider
from experiments.models import baseline_runtime, untouched_title
from optimizers import TECHNIQUES
from optimizers.keras_qat import KerasQuantizationAware
from optimizers.technique import Technique
from runtimes import RUNTIMES, EngineSettings, Runtime, with_settings


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
        done = self.labels or [untouched_title(self.model)]
        engine = self.engine.label()
        return self.name or " + ".join(done) + " · " + RUNTIMES[self.runtime].title + (f" {engine}" if engine else "")

    @property
    def labels(self) -> list[str]:
        """What each technique is called in titles, in their order: training while quantized by what it keeps too."""
        keys = [technique.key for technique in self.techniques]
        return [
            each.label_after(keys[:place]) if isinstance(each, KerasQuantizationAware) else each.label()
            for place, each in enumerate(self.techniques)
        ]

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
    try:
        technique: Technique = TECHNIQUES[key].model_validate(settings or {})
    except ValidationError as error:
        raise ValidationError.from_exception_data(key, [_within(key, each) for each in error.errors()]) from None
    return technique


def _within(key: str, found: ErrorDetails) -> InitErrorDetails:
    """The same mistake, at a place that begins with the technique's key."""
    return {"type": found["type"], "loc": (key, *found["loc"]), "input": found["input"], "ctx": found.get("ctx", {})}
