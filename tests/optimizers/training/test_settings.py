from __future__ import annotations

from dataclasses import asdict
from typing import Any

from optimizers.training.loop import Plan
from optimizers.training.settings import FineTuning, TrainingSettings

OTHER: dict[str, Any] = {
    "optimizer": "sgd", "schedule": "cosine", "warm_up": 0.1, "weight_decay": 0.002, "augmentation": "erase",
    "accumulate": 3, "patience": 4,
}  # fmt: skip


def test_every_setting_reaches_the_plan() -> None:
    settings = FineTuning(**OTHER, keep_epoch="best", train_in="bf16", batch_size=17)
    more = {"keep_zeros": True, "settled_after": 0.5}
    plan = settings.plan(7, 0.02, **more)
    expected = {"epochs": 7, "learning_rate": 0.02, "keep": "best", "precision": "bf16", "batch_size": 17}
    assert asdict(plan) == OTHER | expected | more
    assert set(OTHER) | {"keep_epoch", "train_in", "batch_size"} == set(FineTuning.model_fields)


def test_usual_settings_are_the_usual_plan_and_a_technique_may_say_more() -> None:
    assert TrainingSettings().plan(3, 0.01) == FineTuning().plan(3, 0.01) == Plan(3, 0.01)
    assert FineTuning().plan(3, 0.01, batch_size=32) == Plan(3, 0.01, batch_size=32)
