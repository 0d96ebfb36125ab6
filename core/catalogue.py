"""What is known of a model without loading it, whoever brought it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.bundle import Family, Form, Precision, Task
from core.judging import Metric


@dataclass(frozen=True)
class ModelEntry:
    """One model that recipes can start from."""

    key: str
    title: str
    family: Family
    labels: tuple[str, ...]
    """Names of its classes."""
    data_title: str
    train: int
    """Examples to train on; 0 where there are none, and nothing can be fine-tuned."""
    calibrate: int
    test: int
    task: Task = "images"
    form: Form = "torch"
    precision: Precision = "fp32"
    """What it computes in as it is: `int8` where it was brought quantized."""
    metric: Metric = "accuracy"
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Why a technique or a runtime cannot work on it, by its key or as `technique@runtime`: found when it was added."""
    is_own: bool = False
    """Whether a person brought it, so that it can be deleted."""
    owner: str = ""
    """Who may see it; empty for everyone."""
