"""Makes the files of `keras_files`, in TensorFlow's environment: `.venv-tf/bin/python -m tests.hostile.make_keras`.

Small networks as people save them, and files that would run something, or reach elsewhere, if they were opened.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras

FOLDER = Path(__file__).parent / "keras_files"


def network(library, *extra):
    """A classifier of 8 x 8 colour images into 3 classes."""
    layers = library.layers
    parts = [layers.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), *extra]
    return library.Sequential([*parts, layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")])


def runs(x):
    """What a payload does: it leaves the marker."""
    import os

    os.system('touch "$STUDIO_MARKER"')
    return x


class Own(tf_keras.layers.Layer):
    """One that Keras does not bring."""

    def call(self, x):
        return x


class Reads(tf.Module):
    """A network that reads or writes a file while it computes."""

    def __init__(self, writes):
        super().__init__()
        self.writes = writes

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def __call__(self, x):
        if self.writes:
            with tf.control_dependencies([tf.io.write_file("/tmp/studio-wrote", "content")]):
                return tf.reduce_mean(x, (1, 2))
        found = tf.strings.length(tf.io.read_file("/etc/passwd"))
        return tf.reduce_mean(x, (1, 2)) + tf.cast(found, tf.float32)


class Plain(tf.Module):
    """A network that no Keras describes."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(np.linspace(-1, 1, 576).reshape(192, 3).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def __call__(self, x):
        return tf.reshape(x, [-1, 192]) @ self.weight


def zipped(name, save):
    """A SavedModel as a zip of a folder."""
    with tempfile.TemporaryDirectory() as folder:
        save(f"{folder}/{name}")
        shutil.make_archive(str(FOLDER / name), "zip", folder, name)


def with_hidden_training(name):
    """A whole model, of which an inner one says that its training asks for a class of a Python module, `this`."""
    inner = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.ReLU()], name="inner")
    parts = [keras.layers.Input((8, 8, 3)), inner, keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([*parts, keras.layers.Dense(3)]).save(FOLDER / name)
    with h5py.File(FOLDER / name, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        found = next(each for each in config["config"]["layers"] if each["config"]["name"] == "inner")
        found |= {"module": "keras", "registered_name": None}
        found["compile_config"] = {"optimizer": "sgd", "loss": {"module": "this", "class_name": "Zen", "config": {}}}
        file.attrs["model_config"] = json.dumps(config)


def hdf5(name, fill):
    with h5py.File(FOLDER / f"{name}.weights.h5", "w") as file:
        file.create_dataset("vars/0", data=np.ones(3, np.float32))
        fill(file)


def main() -> None:
    """Write all of them."""
    keras.utils.set_random_seed(0)
    FOLDER.mkdir(exist_ok=True)
    newer, older = network(keras), network(tf_keras)
    newer.save(FOLDER / "plain.keras")
    newer.save(FOLDER / "plain.h5")
    older.save(FOLDER / "older.keras")
    older.save(FOLDER / "older.h5")
    older.save_weights(FOLDER / "alone.h5")
    zipped("saved", lambda path: older.save(path, save_format="tf"))
    zipped("exported", newer.export)
    zipped("plain", lambda path: tf.saved_model.save(Plain(), path))
    zipped("reads", lambda path: tf.saved_model.save(Reads(writes=False), path))
    zipped("writes", lambda path: tf.saved_model.save(Reads(writes=True), path))
    lambdas = network(tf_keras, tf_keras.layers.Lambda(runs))
    lambdas.save(FOLDER / "lambda.h5")
    zipped("lambda", lambda path: lambdas.save(path, save_format="tf"))
    network(keras, keras.layers.Lambda(runs)).save(FOLDER / "lambda.keras")
    network(tf_keras, Own()).save(FOLDER / "own.h5")
    with h5py.File(FOLDER / "older.h5") as file:
        config = json.loads(file.attrs["model_config"])
    shutil.copy(FOLDER / "older.h5", FOLDER / "torn.h5")
    with h5py.File(FOLDER / "torn.h5", "r+") as file:
        config["config"]["layers"][1]["config"]["filters"] = 7
        file.attrs["model_config"] = json.dumps(config)
    with_hidden_training("training-inside.h5")
    hdf5("external-link", lambda file: file.__setitem__("vars/1", h5py.ExternalLink("/etc/passwd", "/")))
    hdf5("soft-link", lambda file: file.__setitem__("vars/1", h5py.SoftLink("/vars/1")))
    hdf5("loop", lambda file: file["vars"].__setitem__("again", file["/"]))
    hdf5("huge", lambda file: file.create_dataset("vars/1", (1 << 40,), "f4", chunks=(1 << 16,)))
    hdf5("elsewhere", lambda file: file.create_dataset("vars/1", (9,), "u1", external=[("/etc/passwd", 0, 9)]))
    hdf5("texts", lambda file: file.create_dataset("vars/1", data=["a", "b"]))
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    hdf5("virtual", lambda file: file.create_virtual_dataset("vars/1", layout))
    converter = tf.lite.TFLiteConverter.from_keras_model(older)
    (FOLDER / "plain.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [x] for x in np.random.default_rng(0).random((8, 1, 8, 8, 3), np.float32)
    )
    (FOLDER / "int8.tflite").write_bytes(converter.convert())
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (FOLDER / "uint8.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
