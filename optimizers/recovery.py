"""Fine-tuning after a cut, guided by the network as it was. Imports torch: import it inside functions only."""

from __future__ import annotations

from torch import nn

from core.bundle import ModelBundle
from core.progress import Steps
from optimizers.guidance import ask_teacher
from optimizers.technique import Context
from optimizers.training import Plan, train

_TEMPERATURE = 4.0


def recover(
    pruned: nn.Module, bundle: ModelBundle, context: Context, plan: Plan, *, guidance: float
) -> Steps[nn.Module]:
    """A fine-tuned copy of `pruned`; the share `guidance` of the loss are the answers of the bundle's own network."""
    teacher = None
    if guidance:
        teacher = yield from ask_teacher(bundle.module, bundle, context, weight=guidance, temperature=_TEMPERATURE)
    recovered = yield from train(pruned, bundle, context, plan, guidance=teacher)
    return recovered
