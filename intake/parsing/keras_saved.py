"""A SavedModel of TensorFlow in a zip: Keras builds it where it says of which layers, else it is converted as it is."""

from __future__ import annotations

import json
import re
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import Refused
from intake.limits import GIB
from intake.parsing.keras_archive import text, unpack
from intake.parsing.keras_plans import Checked, Plan, config_of, title
from intake.parsing.untrusted import shown

GRAPH, METADATA, FINGERPRINT = "saved_model.pb", "keras_metadata.pb", "fingerprint.pb"
NOTE = (
    "The SavedModel does not say of which layers it is made, so that it became a .tflite file: it is measured, and "
    "quantized by LiteRT's quantizer, and not pruned or trained. Saved as model.keras, it can be both."
)
_VARIABLES = re.compile(r"variables/variables\.(index|data-\d{5}-of-\d{5})")
_OPERATIONS = (
    "ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc LoadDataset SaveDataset SaveDatasetV2 "
    "LookupTableImport InitializeTableFromTextFile InitializeTableFromTextFileV2 ReaderReadV2 WholeFileReaderV2 "
    "TextLineReaderV2 TFRecordReaderV2 FixedLengthRecordReaderV2 TextLineDataset TFRecordDataset TFRecordDatasetV2 "
    "FixedLengthRecordDatasetV2 DecodeProtoV2 DebugIdentity DebugIdentityV2 DebugIdentityV3 DumpTensor PrintV2 "
    "Print CreateSummaryFileWriter GeneratorDataset RemoteCall XlaLaunch XlaCustomCallV2 Send Recv RpcCall "
    "DistributedSave DataServiceDataset DataServiceDatasetV2"
)
_REACHES_OUT = frozenset(_OPERATIONS.split())
"""Operations that touch files, programs or other machines; saving and restoring weights are not among them."""


def planned(archive: zipfile.ZipFile, scratch: Path) -> Plan:
    """How the model is built or, where its configuration is None, converted: its files lie in `scratch`.

    Raises `Refused`.
    """
    root = _root(archive)
    names = {name[len(root) :]: name for name in archive.namelist() if name.startswith(root) and not name.endswith("/")}
    checked = _config(text(archive, names[METADATA], GIB)) if METADATA in names else None
    if strange := [name for name in names if name.startswith("assets/")]:
        raise Refused(
            f"A SavedModel with tables of its own ({shown(strange[0])})", expected="a network that takes images alone"
        )
    for name, entry in names.items():
        if name in (GRAPH, FINGERPRINT) or _VARIABLES.fullmatch(name):
            unpack(archive, entry, scratch / name)
    if checked is None:
        return Plan(None, title("2 SavedModel"), partial(_build, None, scratch))
    return Plan(checked.config, title("2 SavedModel"), partial(_build, checked.config, scratch), checked.notes)


def converted(scratch: Path) -> bytes:
    """The SavedModel as a `.tflite` in float32, of built-in operators alone. Raises `Refused`."""
    _refuse_reaching_out(scratch / GRAPH)
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from bridges.keras.converting import quiet

    try:
        with quiet():
            loaded = tf.saved_model.load(str(scratch))
            function = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], loaded)
            converter.experimental_lower_to_saved_model = False  # it would have to delete what it writes
            return bytes(converter.convert())
    except Exception as error:  # the converter raises anything
        words = " ".join(str(error).split()) or type(error).__name__
        raise Refused(
            f"TensorFlow cannot convert this SavedModel to LiteRT's own operators ({shown(words)})",
            expected="a SavedModel with a signature serving_default, made of operators that LiteRT has",
            action='Save the network with Keras: model.save("model.keras")',
        ) from error


def _root(archive: zipfile.ZipFile) -> str:
    """The folder of the zip in which the SavedModel lies, empty or with a slash at its end."""
    found = [name for name in archive.namelist() if re.fullmatch(rf"(.*/)?{re.escape(GRAPH)}", name)]
    if len(found) != 1:
        raise Refused(f"A zip with {len(found)} SavedModels", expected="one: saved_model.pb and the folder variables")
    return found[0].removesuffix(GRAPH)


def _config(content: bytes) -> Checked:
    """The configuration of the model in `keras_metadata.pb`."""
    from tf_keras.protobuf import saved_metadata_pb2

    try:
        nodes = saved_metadata_pb2.SavedMetadata.FromString(content).nodes
        found: dict[str, Any] = next((json.loads(node.metadata) for node in nodes if node.node_path == "root"), {})
    except Exception as error:  # of several libraries of protobuf
        raise Refused(f"A damaged {METADATA} ({type(error).__name__})", action="Save the model again") from None
    return config_of(json.dumps({key: _plain(found.get(key)) for key in ("class_name", "config")}), METADATA)


def _plain(value: Any) -> Any:
    """A configuration with lists where the file speaks of tuples, as the other formats have it."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return [_plain(each) for each in value["items"]]
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _build(config: dict[str, Any] | None, scratch: Path) -> Any:
    import tensorflow as tf
    from tf_keras.src.saving.legacy import model_config

    assert config is not None, "it is converted otherwise"
    model = model_config.model_from_config(config)
    tf.train.Checkpoint(model).read(str(scratch / "variables" / "variables")).assert_existing_objects_matched()
    return model


def _refuse_reaching_out(path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        found = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except Exception as error:  # of several libraries of protobuf
        raise Refused(f"A damaged {GRAPH} ({type(error).__name__})", action="Save the model again") from None
    for meta in found.meta_graphs:
        functions = meta.graph_def.library.function
        nodes = (*meta.graph_def.node, *(node for each in functions for node in each.node_def))
        if reaching := next((node.op for node in nodes if node.op in _REACHES_OUT), ""):
            raise Refused(
                f"Its graph has the operation {reaching}, which reaches for files, programs or other machines",
                expected="a network that computes with an image alone",
                action='Save the network with Keras: model.save("model.keras")',
            )
