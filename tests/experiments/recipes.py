"""Recipes as files, for tests of what reads, checks and compares them."""

from __future__ import annotations

CHAIN = """
model: resnet_fmnist
runtime: onnxruntime
techniques:
- structured_pruning: {ratio: 0.3}
- int8: {calibration_images: 64}
"""
TRAINED = """
model: keras_cnn_fmnist
runtime: litert
seed: 3
techniques:
- keras_pruning: {epochs: 2, learning_rate: 0.002, batch_size: 128}
- keras_qat: {epochs: 1, learning_rate: 0.0005, batch_size: 128}
"""
