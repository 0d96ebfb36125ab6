"""HDF5 files, looked through before Keras reads them: a link may lead to another file, a set may claim any size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Refused
from intake.limits import LIMITS, MIB
from intake.parsing import keras_wrappers
from intake.parsing.keras_plans import Plan, config_of, is_older, title
from intake.parsing.untrusted import shown

if TYPE_CHECKING:
    import h5py  # type: ignore[import-not-found,unused-ignore]

MOST_OBJECTS, MOST_DEPTH = 100_000, 64
HARMLESS_BYTES = 16 * MIB
"""Up to here what is stored packed may grow as much as it likes."""
_FILTERS = (1, 2, 3)
"""Deflate, shuffle and checksum, which HDF5 itself brings; others are programs."""
_NUMBERS = "fiub"
_WHOLE = "a whole model as model.save writes it"
_ATTRIBUTE_BYTES = 32 * MIB
_OF_WEIGHTS = ("layer_names", "layers", "_layer_checkpoint_dependencies", "vars")
"""Groups and attributes of files that hold weights and nothing else."""


def planned(file: Path) -> Plan:
    """How the model of a `.h5` file is built. Raises `Refused`."""
    check(file)
    with _opened(file) as root:
        if "model_config" not in root.attrs:
            raise Refused(
                "An HDF5 file of weights alone: nothing in it says which layers they belong to"
                if _holds_weights(root)
                else "An HDF5 file without a Keras model in it",
                expected=_WHOLE,
                action='Save the whole model where it was made: model.save("model.keras")',
            )
        checked = config_of(_text(root.attrs["model_config"]), "model_config", unwraps=True)
        version = _text(root.attrs.get("keras_version", ""))
    if keras_wrappers.NOTE in checked.notes:
        return Plan(checked.config, title(version), partial(_build_unwrapped, checked.config, file), checked.notes)
    build = partial(_build, checked.config, file, older=is_older(version))
    return Plan(checked.config, title(version), build, checked.notes)


def check(file: Path) -> None:
    """Raises `Refused` for links, sizes and kinds of content that no weights have."""
    try:
        with _opened(file) as root:
            for name, each in _walked(root):
                _check_set(name, each)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise Refused(
            f"A damaged HDF5 file ({shown(' '.join(str(error).split()))})", action="Copy or save the file again"
        ) from None


def _opened(file: Path) -> Any:
    import h5py

    try:
        return h5py.File(file, "r", locking=False)
    except OSError as error:
        raise Refused(
            f"A damaged HDF5 file ({shown(' '.join(str(error).split()))})", action="Copy or save the file again"
        ) from None


def _walked(root: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All its sets of numbers by name; each group is entered once."""
    import h5py

    waiting: list[tuple[str, h5py.Group, int]] = [("", root, 0)]
    seen = {_place(root)}
    count = 0
    while waiting:
        path, group, depth = waiting.pop()
        for key in group:
            name, link = f"{path}/{key}", group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
                raise _refused(f"{shown(name)} is a link to {kind}")
            found = group[key]
            count += 1
            if count > MOST_OBJECTS or depth > MOST_DEPTH:
                raise _refused(f"It has more than {MOST_OBJECTS:,} parts, or parts within parts without an end")
            if isinstance(found, h5py.Dataset):
                yield name, found
            elif _place(found) in seen:
                raise _refused(f"{shown(name)} leads back to where it lies")
            else:
                seen.add(_place(found))
                waiting.append((name, found, depth + 1))


def _place(found: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(found.id).addr)


def _check_set(name: str, found: h5py.Dataset) -> None:
    plan = found.id.get_create_plist()
    if plan.get_external_count() or found.is_virtual:
        raise _refused(f"{shown(name)} lies in another file")
    if found.dtype.kind not in _NUMBERS:
        raise _refused(f"{shown(name)} holds no plain numbers but {shown(str(found.dtype))}")
    if strange := [
        plan.get_filter(place)[0] for place in range(plan.get_nfilters()) if plan.get_filter(place)[0] not in _FILTERS
    ]:
        raise _refused(f"{shown(name)} is packed by a program that HDF5 would have to load (filter {strange[0]})")
    claimed, stored = found.size * found.dtype.itemsize, found.id.get_storage_size()
    if claimed > max(HARMLESS_BYTES, LIMITS.unpacked_ratio * stored) or claimed > LIMITS.model_bytes:
        raise _refused(f"{shown(name)} claims {claimed:,} bytes, of which {stored:,} are there")


def _refused(what: str) -> Refused:
    return Refused(what, expected="weights as Keras writes them", action="Save the model again with Keras")


def _holds_weights(root: h5py.File) -> bool:
    return any(name in root.attrs for name in _OF_WEIGHTS) or any(name in root for name in _OF_WEIGHTS)


def _text(value: Any) -> str:
    found = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if len(found) > _ATTRIBUTE_BYTES:
        raise Refused(f"model_config has {len(found):,} characters", expected=f"at most {_ATTRIBUTE_BYTES:,}")
    return found


def _build(config: Mapping[str, Any], file: Path, *, older: bool) -> Any:
    """The model of the configuration that was checked, never of the file's own words, with the file's weights."""
    told = json.dumps(config)
    with _opened(file) as root:
        if older:
            from tf_keras.src.saving.legacy import hdf5_format, model_config
            from tf_keras.src.saving.legacy.saved_model import json_utils

            model = model_config.model_from_config(json_utils.decode(told))
            hdf5_format.load_weights_from_hdf5_group(root["model_weights"], model)
            return model
        from keras.src.legacy.saving import json_utils, legacy_h5_format, saving_options, saving_utils
        from keras.src.saving import serialization_lib

        with saving_options.keras_option_scope(use_legacy_config=True), serialization_lib.SafeModeScope(True):
            model = saving_utils.model_from_config(json_utils.decode(told))
            legacy_h5_format.load_weights_from_hdf5_group(root["model_weights"], model)
        return model


def _build_unwrapped(config: Mapping[str, Any], file: Path) -> Any:
    """The same of a configuration whose wrappers were taken off, and of the weights that these kept."""
    from tf_keras.src.saving.legacy import model_config
    from tf_keras.src.saving.legacy.saved_model import json_utils

    model = model_config.model_from_config(json_utils.decode(json.dumps(config)))
    with _opened(file) as root:
        for layer in model.layers:
            if not layer.weights:
                continue
            if hasattr(layer, "layers"):
                raise keras_wrappers.refusal(f"around layers beside the network {shown(layer.name)}")
            found = keras_wrappers.weights_of(_by_name(root["model_weights"][layer.name]))
            layer.set_weights([found[_last(weight.name)] for weight in layer.weights])
    return model


def _by_name(group: h5py.Group) -> dict[str, Any]:
    return {_last(name): group[name][()] for name in map(_text, group.attrs["weight_names"])}


def _last(name: str) -> str:
    """`kernel` of `dense/kernel:0`."""
    return name.rpartition("/")[2].partition(":")[0]
