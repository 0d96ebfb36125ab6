"""The techniques, one file each, in the order in which they compose."""

from optimizers.distillation import Distillation
from optimizers.int8 import Int8
from optimizers.keras_clustering import KerasClustering
from optimizers.keras_fine_tuning import KerasFineTuning
from optimizers.keras_pruning import KerasPruning
from optimizers.keras_qat import KerasQuantizationAware
from optimizers.keras_quantization import KerasQuantization
from optimizers.litert_quantization import LiteRtQuantization
from optimizers.low_precision import Fp8
from optimizers.low_rank import LowRank
from optimizers.magnitude_pruning import MagnitudePruning
from optimizers.mixed_precision import MixedPrecision
from optimizers.qat import QuantizationAwareTraining
from optimizers.simulated import Simulated
from optimizers.structured_pruning import StructuredPruning
from optimizers.technique import Context, Technique
from optimizers.two_four import TwoFour
from optimizers.weight_only import WeightOnly

TECHNIQUES: dict[str, type[Technique]] = {
    "distillation": Distillation,
    "structured_pruning": StructuredPruning,
    "low_rank": LowRank,
    "magnitude_pruning": MagnitudePruning,
    "two_four": TwoFour,
    "mixed_precision": MixedPrecision,
    "int8": Int8,
    "qat": QuantizationAwareTraining,
    "weight_only": WeightOnly,
    "fp8": Fp8,
    "simulated": Simulated,
    "keras_fine_tuning": KerasFineTuning,
    "keras_pruning": KerasPruning,
    "keras_clustering": KerasClustering,
    "keras_qat": KerasQuantizationAware,
    "keras_quantization": KerasQuantization,
    "litert_quantization": LiteRtQuantization,
}

__all__ = ["TECHNIQUES", "Context", "Technique"]
