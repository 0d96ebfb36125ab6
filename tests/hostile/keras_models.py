"""Keras models and SavedModels, honest ones and hostile ones. `keras_files` has what only Keras and HDF5 can write."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.case import Case

FOLDER = Path(__file__).parent / "keras_files"
Config = dict[str, Any]
Build = Callable[[Path], Path]
FUNCTION = {"module": "builtins", "class_name": "function", "config": "system", "registered_name": "os>system"}


def file(name: str) -> Build:
    """One of the files as it is."""
    return lambda folder: Path(shutil.copy(FOLDER / name, folder / name))


def entries(name: str = "plain.keras") -> dict[str, bytes]:
    with zipfile.ZipFile(FOLDER / name) as archive:
        return {each: archive.read(each) for each in archive.namelist()}


def with_entries(parts: dict[str, bytes], name: str = "model.keras") -> Build:
    """A zip."""

    def build(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for key, value in parts.items():
                archive.writestr(key, value)
        return folder / name

    return build


def with_config(change: Callable[[Config], None]) -> Build:
    """The honest `.keras` file with something changed in its configuration."""
    config = json.loads(entries()["config.json"])
    change(config)
    return with_entries(entries() | {"config.json": json.dumps(config).encode()})


def with_layer(**other: Any) -> Build:
    """With other things said of its convolution."""
    return with_config(lambda config: config["config"]["layers"][1].update(other))


def with_setting(**settings: Any) -> Build:
    """With other settings of its convolution."""
    return with_config(lambda config: config["config"]["layers"][1]["config"].update(settings))


def with_weights(name: str) -> Build:
    return with_entries(entries() | {"model.weights.h5": (FOLDER / name).read_bytes()})


def raw_config(text: bytes) -> Build:
    return with_entries(entries() | {"config.json": text})


def cut(name: str, share: float = 0.5) -> Build:
    def build(folder: Path) -> Path:
        content = (FOLDER / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])
        return folder / name

    return build


def without(name: str) -> dict[str, bytes]:
    return {key: value for key, value in entries().items() if key != name}


def in_a_model(layer: Config) -> Build:
    """With a layer in a network that stands in the place of a layer."""
    inner = {"module": "keras", "class_name": "Sequential", "config": {"name": "inner", "layers": [layer]}}
    return with_config(lambda config: config["config"]["layers"].insert(2, inner))


def part(module: str, name: str) -> Config:
    """How a configuration speaks of something that belongs to a layer or to its training."""
    return {"module": module, "class_name": name, "config": {}}


def sized(config: Config, side: int) -> None:
    """For images of that many pixels a side."""
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, side, side, 3]


def four_channels(config: Config) -> None:
    """Its classifier alone, which then looks at images of four channels."""
    layers = config["config"]["layers"]
    del layers[1:3]
    layers[0]["config"]["batch_shape"] = [None, 8, 8, 4]


def padded(config: Config) -> None:
    """With more around its image than any memory holds."""
    settings = {"name": "padded", "padding": [[10**9, 0], [0, 10**9]]}
    config["config"]["layers"].insert(1, {"module": "keras.layers", "class_name": "ZeroPadding2D", "config": settings})


IDENTITY = {"module": "keras.layers", "class_name": "Identity", "config": {}}
LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}},
}
SAVED = {key.removeprefix("saved/"): value for key, value in entries("saved.zip").items() if not key.endswith("/")}

HOSTILE: list[tuple[str, Build, str]] = [
    ("lambda", file("lambda.keras"), "Lambda"),
    ("lambda-h5", file("lambda.h5"), "Lambda"),
    ("lambda-saved-model", file("lambda.zip"), "Lambda"),
    ("lambda-inside", in_a_model(LAMBDA), "Lambda"),
    ("lambda-by-its-class", with_layer(class_name="Lambda"), "Lambda"),
    ("lambda-as-activation", with_setting(activation=LAMBDA["config"]["function"]), "Lambda"),  # type: ignore[index]
    ("own-class-h5", file("own.h5"), "'Own'"),
    ("own-class", with_layer(class_name="Net", module="my_nets"), "my_nets"),
    ("class-of-os", with_layer(class_name="system", module="os"), "'os'"),
    ("class-of-subprocess", with_layer(class_name="Popen", module="subprocess"), "'subprocess'"),
    ("class-beside-keras", with_layer(class_name="Conv2D", module="keras_evil.layers"), "keras_evil"),
    ("registered", with_layer(registered_name="evil>Layer"), "evil>Layer"),
    ("function", with_setting(activation=FUNCTION), "system"),
    ("function-by-name", with_setting(activation="os.system"), "os.system"),
    ("initializer-of-os", with_setting(kernel_initializer=part("os", "popen")), "'os'"),
    ("regularizer-own", with_setting(kernel_regularizer=part("keras", "Mine")), "Mine"),
    ("wrapped-layer", with_layer(class_name="TimeDistributed"), "TimeDistributed"),
    ("model-own", with_config(lambda config: config.update(class_name="Mine", module="my_nets")), "Mine"),
    ("not-json", raw_config(b"{"), "no JSON"),
    ("config-a-list", raw_config(b"[]"), "describes no model"),
    ("config-empty", raw_config(b"{}"), "class None"),
    ("config-deep", raw_config(b'{"a":' * 90_000), "config.json"),
    ("config-giant", raw_config(b'{"a": "' + bytes(48) * 2**20 + b'"}'), "config.json"),
    ("layers-no-list", with_config(lambda config: config["config"].update(layers=3)), "Keras cannot build"),
    ("filters-below-zero", with_setting(filters=-4), "Keras cannot build"),
    ("filters-of-another", with_setting(filters=9), "Keras cannot build"),
    ("filters-giant", with_setting(filters=1 << 40), "of memory"),
    ("channels-four", with_config(four_channels), "It takes 4 channels; expected 1 or 3"),
    ("sides-giant", with_config(lambda config: sized(config, 5000)), "sides of at most 4,096"),
    ("padding-giant", with_config(padded), "Keras cannot bring it to the form that is worked on"),
    ("layers-too-many",
     with_config(lambda config: config["config"]["layers"].extend([IDENTITY] * 20_001)), "more than 20,000 layers"),
    ("without-config", with_entries(without("config.json")), "without config.json"),
    ("without-weights", with_entries(without("model.weights.h5")), "without model.weights.h5"),
    ("with-tables", with_entries(entries() | {"assets/words.txt": b"x"}), "tables of its own"),
    ("zip-slip", with_entries(entries() | {"../../evil.py": b"x"}), "leads out of the zip"),
    ("zip-absolute", with_entries(entries() | {"/tmp/evil.py": b"x"}), "absolute"),
    ("cut", cut("plain.keras"), "cut short"),
    ("cut-h5", cut("plain.h5"), "damaged HDF5"),
    ("cut-saved-model", cut("saved.zip"), "cut short"),
    ("weights-no-hdf5", with_entries(entries() | {"model.weights.h5": b"weights"}), "damaged HDF5"),
    ("weights-external-link", with_weights("external-link.weights.h5"), "link to another file"),
    ("weights-soft-link", with_weights("soft-link.weights.h5"), "link to another place"),
    ("weights-loop", with_weights("loop.weights.h5"), "leads back"),
    ("weights-huge", with_weights("huge.weights.h5"), "claims 4,398,046,511,104 bytes"),
    ("weights-elsewhere", with_weights("elsewhere.weights.h5"), "lies in another file"),
    ("weights-virtual", with_weights("virtual.weights.h5"), "lies in another file"),
    ("weights-texts", with_weights("texts.weights.h5"), "no plain numbers"),
    ("weights-of-nothing", with_weights("own.h5"), "Keras cannot build"),
    ("h5-weights-alone", file("alone.h5"), "weights alone"),
    ("h5-link", file("external-link.weights.h5"), "link to another file"),
    ("h5-torn", file("torn.h5"), "Keras cannot build"),
    ("saved-model-reads", file("reads.zip"), "ReadFile"),
    ("saved-model-writes", file("writes.zip"), "WriteFile"),
    ("saved-model-slip", with_entries(SAVED | {"variables/../../x": b"x"}, "model.zip"), "leads out of the zip"),
    ("saved-model-tables", with_entries(SAVED | {"assets/vocabulary": b"x"}, "model.zip"), "tables of its own"),
    ("saved-model-twice", with_entries(SAVED | {"b/saved_model.pb": b"x"}, "model.zip"), "2 SavedModels"),
    ("saved-model-noise",
     with_entries({"saved_model.pb": b"\xff" * 99}, "model.zip"), "damaged saved_model.pb"),
    ("saved-model-empty", with_entries({"saved_model.pb": b""}, "model.zip"), "TensorFlow cannot convert"),
    ("saved-model-metadata-noise",
     with_entries(SAVED | {"keras_metadata.pb": b"\xff" * 99}, "model.zip"), "damaged keras_metadata.pb"),
    ("saved-model-without-weights",
     with_entries({k: v for k, v in SAVED.items() if "data-" not in k}, "model.zip"), "Keras cannot build"),
]  # fmt: skip
HONEST: list[tuple[str, Build]] = [
    ("plain", file("plain.keras")),
    ("plain-h5", file("plain.h5")),
    ("older", file("older.keras")),
    ("older-h5", file("older.h5")),
    ("training-of-a-model-inside", file("training-inside.h5")),
    ("saved-model", file("saved.zip")),
    ("saved-model-exported", file("exported.zip")),
    ("saved-model-of-no-layers", file("plain.zip")),
    (
        "compiled-with-own-code",
        with_config(lambda config: config.update(compile_config={"loss": part("my_code", "Loss")})),
    ),
]
CASES: list[Case] = [
    *(Case(f"keras-{kind}", "model", build, says) for kind, build, says in HOSTILE),
    *(Case(f"keras-honest-{kind}", "model", build, "") for kind, build in HONEST),
]
