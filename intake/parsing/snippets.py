"""Lines of Python that turn a file that is not taken into one that is, where it was made."""

SAVE_WEIGHTS = """\
import torch  # in the program that made the file, where the trained network is `network`
torch.save(network.state_dict(), "weights.pt")"""

SAVE_AGAIN = """\
import torch
weights = torch.load("old.pt", map_location="cpu", weights_only=True)
torch.save(weights, "weights.pt")"""

STORE_UNPACKED = """\
import zipfile
with zipfile.ZipFile("packed.pt") as packed, zipfile.ZipFile("weights.pt", "w", zipfile.ZIP_STORED) as stored:
    [stored.writestr(name, packed.read(name)) for name in packed.namelist()]"""

TORCHSCRIPT_TO_ONNX = """\
import torch  # where the file was made: loading it runs what is in it
network = torch.jit.load("model.pt", map_location="cpu").eval()
torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), "model.onnx", dynamo=False)"""

EXPORTED_TO_ONNX = """\
import torch  # where the file was made: loading it runs what is in it
program = torch.export.load("model.pt2")
torch.onnx.export(program, (), "model.onnx", dynamo=True, external_data=False)"""

KERAS_TO_ONNX = """\
import tensorflow, tf2onnx  # in the program that made the file, where the trained network is `network`
images = tensorflow.TensorSpec((None, *network.input_shape[1:]))
tf2onnx.convert.from_function(tensorflow.function(network), [images], output_path="model.onnx")"""

TO_FLOAT = """\
import torch
weights = torch.load("weights.pt", map_location="cpu", weights_only=True)
torch.save({key: each.float() if each.is_floating_point() else each for key, each in weights.items()}, "floats.pt")"""

CONTIGUOUS = """\
import torch
weights = torch.load("weights.pt", map_location="cpu", weights_only=True)
torch.save({key: each.contiguous().clone() for key, each in weights.items()}, "contiguous.pt")"""
