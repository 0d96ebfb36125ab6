"""Trained networks and real test data that come with the studio. Importing this does not import torch."""

from sample_models.datasets import Dataset
from sample_models.model_card import ModelCard
from sample_models.registry import (
    MODELS,
    STUDENTS,
    SampleModel,
    build_student,
    card,
    contract,
    find,
    load,
    sample_images,
    test_split,
)

__all__ = [
    "MODELS",
    "STUDENTS",
    "Dataset",
    "ModelCard",
    "SampleModel",
    "build_student",
    "card",
    "contract",
    "find",
    "load",
    "sample_images",
    "test_split",
]
