"""Whether a network's configuration asks Keras for nothing but its own layers, told from the JSON alone.

Keras looks classes and functions up by the names that a file gives, and a Lambda layer carries code. What is not on
these lists is therefore refused before anything is built. None of this needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import BadInput


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODELS = frozenset({"Functional", "Model", "Sequential"})
LAYERS = _names(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D BatchNormalization CenterCrop Concatenate Conv1D Conv2D Conv2DTranspose Cropping1D Cropping2D
    CustomScaleLayer Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU EinsumDense Flatten GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D
    GroupNormalization Identity InputLayer LayerNormalization LayerScale LeakyReLU MaxPooling1D MaxPooling2D Maximum
    Minimum MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RandomBrightness
    RandomColorJitter RandomContrast RandomCrop RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
    RandomHeight RandomHue RandomRotation RandomSaturation RandomSharpness RandomTranslation RandomWidth RandomZoom
    ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D SlicingOpLambda Softmax
    SpatialDropout1D SpatialDropout2D Subtract TFOpLambda ThresholdedReLU UnitNormalization UpSampling1D
    UpSampling2D ZeroPadding1D ZeroPadding2D
    """
)
OPERATIONS = _names(
    """
    Absolute AveragePool BatchNorm Cast Clip Concatenate Conv DepthwiseConv Divide Elu Exp Expand ExpandDims Gelu
    GetItem HardSigmoid HardSilu HardSwish LeakyRelu LogSoftmax Matmul Max MaxPool Maximum Mean Min Minimum Negative
    Pad Power Relu Relu6 Reshape Rsqrt Selu Sigmoid Silu Softmax Softplus Sqrt Square Squeeze Stack Subtract Sum
    Swapaxes Tanh Transpose TrueDivide
    """
)
"""Of Keras 3, what arithmetic on a network's tensors becomes: `x * 0.5`, `keras.ops.relu6(x)`."""
FUNCTIONS = _names(
    """
    __operators__.add __operators__.getitem __operators__.mul cast concat expand_dims math.add math.divide
    math.maximum math.minimum math.multiply math.negative math.reduce_max math.reduce_mean math.reduce_sum
    math.sigmoid math.square math.subtract math.tanh math.truediv nn.bias_add nn.elu nn.gelu nn.leaky_relu nn.relu
    nn.relu6 nn.selu nn.sigmoid nn.silu nn.softmax reshape squeeze
    """
)
"""Of tf_keras, the same: what a TFOpLambda layer, or a SlicingOpLambda for `x[..., ::-1]`, may compute."""
_OF_FUNCTIONS = ("TFOpLambda", "SlicingOpLambda")
ACTIVATIONS = _names(
    """
    celu elu exponential gelu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_softmax mish relu relu6
    selu sigmoid silu softmax softplus softsign swish tanh
    """
)
_OF_OTHER_DATA = _names(
    """
    Bidirectional CategoryEncoding Conv1DTranspose Conv3D ConvLSTM1D ConvLSTM2D Discretization Embedding GRU Hashing
    IntegerLookup LSTM MaxPooling3D RNN SimpleRNN StringLookup TextVectorization TimeDistributed
    """
)
"""Layers that Keras brings for texts, series and volumes."""
_COUNTED = MODELS | LAYERS | OPERATIONS
_PARTS = _names(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros L1 L1L2 L2 OrthogonalRegularizer MaxNorm
    MinMaxNorm NonNeg RadialConstraint UnitNorm DTypePolicy Policy __ellipsis__ __keras_tensor__ __numpy__
    __slice__ __tensor__ __tuple__
    """
)
"""Initialisers, regularisers, constraints, policies and constants, inside a layer."""
_HOMES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "tensorflow.python.ops.init_ops_v2")
_MOST_VALUES, _MOST_LAYERS = 2_000_000, 20_000
_OUGHT = "a network made only of layers that Keras itself brings"
_WAY_OUT = "Build the network of built-in layers and copy its weights, or export it to ONNX"


def check_config(config: Mapping[str, Any]) -> None:
    """Raises `BadInput` unless a model's configuration names nothing but built-in layers and their parts.

    `config` has `class_name` and `config`, as `model.to_json()` and the `config.json` of a `.keras` file do. What a
    model was trained with (`compile_config`) is none of these: whoever reads a file leaves it out first.
    """
    if config.get("class_name") not in MODELS or not isinstance(config.get("config"), Mapping):
        raise BadInput(
            f"A model of the class {config.get('class_name')!r:.60}",
            expected="a Sequential or Functional model, whose layers can be listed without running its code",
            action="Build the network with keras.Sequential or keras.Model(inputs, outputs) and copy its weights",
        )
    layers = 0
    for value in _values(config):
        _check_place(value)
        if "class_name" in value:
            _check_name(value)
            layers += value["class_name"] in _COUNTED
            if layers > _MOST_LAYERS:
                raise BadInput(f"A network of more than {_MOST_LAYERS:,} layers", expected="fewer", action=_WAY_OUT)
        elif "function" in value:
            raise _refusal(f"A function {value['function']!r:.60}")
        if isinstance(name := value.get("activation"), str) and name not in ACTIVATIONS:
            raise _refusal(f"The activation {name!r:.60}")


def _values(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every object in the configuration, however deep."""
    waiting: list[Any] = [config]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
            waiting += _inside(value)
        elif isinstance(value, list | tuple):
            waiting += value
    raise BadInput("A configuration of too many values", expected=f"at most {_MOST_VALUES:,}", action=_WAY_OUT)


def _inside(value: Mapping[str, Any]) -> list[Any]:
    """What an object holds; of a layer of a function, which is checked with it, the settings one by one."""
    settings = value.get("config")
    if value.get("class_name") not in _OF_FUNCTIONS or not isinstance(settings, Mapping):
        return list(value.values())
    return [each for key, each in value.items() if key != "config"] + list(settings.values())


def _check_place(value: Mapping[str, Any]) -> None:
    module = value.get("module")
    if module is None or (module == "builtins" and value.get("class_name") == "function"):
        return
    if not isinstance(module, str) or not _is_home(module):
        raise _refusal(f"Something of the Python module {module!r:.60}")


def _is_home(module: str) -> bool:
    return any(module == home or module.startswith(f"{home}.") for home in _HOMES)


def _check_name(value: Mapping[str, Any]) -> None:
    name, inside, registered = value["class_name"], value.get("config"), value.get("registered_name")
    if name == "function":
        if inside not in ACTIVATIONS or registered not in (None, inside):
            raise _refusal(f"The function {inside!r:.60}")
        return
    if name in ("Lambda", "__lambda__"):
        raise _refusal("A Lambda layer, which carries code of its own", name=_own_name(inside))
    if name in _OF_FUNCTIONS:
        function = inside.get("function") if isinstance(inside, Mapping) else None
        if function not in FUNCTIONS or set(inside or ()) - {"name", "trainable", "dtype", "function"}:
            raise _refusal(f"An operation {function!r:.60}", name=_own_name(inside))
    if isinstance(name, str) and name in _OF_OTHER_DATA:
        raise BadInput(
            f"A layer of the class {name!r} (`{_own_name(inside)}`), which is for texts, series or volumes",
            expected="a network that classifies images",
            action="Bring the part that looks at images, or export the network to ONNX",
        )
    if not isinstance(name, str) or name not in _COUNTED | _PARTS:
        raise _refusal(f"A layer or part of the class {name!r:.60}, which is not on the list", name=_own_name(inside))
    if registered not in (None, name):
        raise _refusal(f"A class registered as {registered!r:.60}", name=_own_name(inside))


def _own_name(inside: Any) -> str:
    return str(inside.get("name", ""))[:60] if isinstance(inside, Mapping) else ""


def _refusal(what: str, *, name: str = "") -> BadInput:
    return BadInput(what + (f" (`{name}`)" if name else ""), expected=_OUGHT, action=_WAY_OUT)
