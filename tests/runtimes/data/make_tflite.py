"""Makes `pooled.tflite`, `flattened.tflite` and `tflite.npz`: images, and TensorFlow Lite's own logits for them.

TensorFlow and PyTorch cannot live in one process, so the tests read these files instead. With TensorFlow 2.21:

    python3 -m venv tf && tf/bin/pip install tensorflow==2.21.0
    tf/bin/python tests/runtimes/data/make_tflite.py
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

HERE = Path(__file__).parent
HEIGHT, WIDTH, CHANNELS, CLASSES = 12, 10, 3, 5


def network(head: layers.Layer) -> keras.Model:
    """Made for a batch of 1, with what TensorFlow does otherwise than PyTorch: channels last, uneven padding."""
    image = keras.Input(batch_shape=(1, HEIGHT, WIDTH, CHANNELS))
    features = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    features = layers.ReLU(6.0)(layers.BatchNormalization()(features))
    depthwise = layers.DepthwiseConv2D(3, padding="same", activation="relu")(features)
    return keras.Model(image, layers.Dense(CLASSES)(head(layers.Add()([features, depthwise]))))


def converted(model: keras.Model, random: np.random.Generator) -> bytes:
    """With statistics that are not those of an untrained BatchNorm."""
    for normalisation in (each for each in model.layers if isinstance(each, layers.BatchNormalization)):
        normalisation.set_weights([random.uniform(0.5, 2, weight.shape) for weight in normalisation.get_weights()])
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def logits(content: bytes, images: np.ndarray) -> np.ndarray:
    """Of TensorFlow Lite's interpreter, one image at a time."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    given, answered = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers = []
    for image in images:
        interpreter.set_tensor(given, image[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(answered)[0])
    return np.stack(answers)


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images = (3 * random.normal(size=(7, HEIGHT, WIDTH, CHANNELS))).astype(np.float32)
    heads = {"pooled": layers.GlobalAveragePooling2D(), "flattened": layers.Flatten()}
    contents = {name: converted(network(head), random) for name, head in heads.items()}
    for name, content in contents.items():
        (HERE / f"{name}.tflite").write_bytes(content)
    answers = {name: logits(content, images) for name, content in contents.items()}
    np.savez_compressed(HERE / "tflite.npz", images=images, **answers)
