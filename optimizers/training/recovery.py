"""Fine-tuning after a cut, guided by the network as it was. Imports torch: import it inside functions only."""

from __future__ import annotations

from torch import nn

from core.bundle import ModelBundle
from core.progress import Steps
from optimizers.teaching.guidance import Guidance, ask_teacher
from optimizers.technique import Context
from optimizers.training.loop import Plan, train
from optimizers.training.masks import Masks
from optimizers.training.settings import Augmentation

_TEMPERATURE = 4.0


def recover(
    pruned: nn.Module,
    bundle: ModelBundle,
    context: Context,
    plan: Plan,
    *,
    guidance: float,
    masks: Masks | None = None,
) -> Steps[nn.Module]:
    """A fine-tuned copy of `pruned`; the share `guidance` of the loss are the answers of the bundle's own network."""
    teacher = yield from ask_original(bundle, context, guidance, plan.augmentation)
    return (yield from train(pruned, bundle, context, plan, guidance=teacher, masks=masks))


def ask_original(
    bundle: ModelBundle, context: Context, guidance: float, augmentation: Augmentation = "mirror"
) -> Steps[Guidance | None]:
    """What the bundle's own network answers, to count for the share `guidance` of the loss; None where that is 0.

    It is asked once about every view that `augmentation` shows, or, where there are too many, in each step.
    """
    if not guidance:
        return None
    asked = ask_teacher(
        bundle.module, bundle, context, weight=guidance, temperature=_TEMPERATURE, augmentation=augmentation
    )
    return (yield from asked)
