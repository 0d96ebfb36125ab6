"""The techniques, one file each, in the order in which they compose."""

from optimizers.distillation import Distillation
from optimizers.int8 import Int8
from optimizers.magnitude_pruning import MagnitudePruning
from optimizers.mixed_precision import MixedPrecision
from optimizers.structured_pruning import StructuredPruning
from optimizers.technique import Context, Technique

TECHNIQUES: dict[str, type[Technique]] = {
    "distillation": Distillation,
    "structured_pruning": StructuredPruning,
    "magnitude_pruning": MagnitudePruning,
    "mixed_precision": MixedPrecision,
    "int8": Int8,
}

__all__ = ["TECHNIQUES", "Context", "Technique"]
