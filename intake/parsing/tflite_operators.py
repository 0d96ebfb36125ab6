"""The operators of LiteRT that a network may consist of, each with the settings that belong to it.

Left out are all that call other code, keep something from one image to the next, look tables up, draw random numbers,
read text or loop.
"""

from __future__ import annotations

from collections.abc import Mapping

_WITH_SETTINGS = """
ABS:Abs ADD:Add ADD_N:AddN ARG_MAX:ArgMax AVERAGE_POOL_2D:Pool2D BATCH_MATMUL:BatchMatMul
BATCH_TO_SPACE_ND:BatchToSpaceND
BROADCAST_TO:BroadcastTo CAST:Cast CONCATENATION:Concatenation CONV_2D:Conv2D COS:Cos CUMSUM:Cumsum
DEPTHWISE_CONV_2D:DepthwiseConv2D DEPTH_TO_SPACE:DepthToSpace DEQUANTIZE:Dequantize DIV:Div EQUAL:Equal EXP:Exp
EXPAND_DIMS:ExpandDims FAKE_QUANT:FakeQuant FILL:Fill FLOOR_DIV:FloorDiv FLOOR_MOD:FloorMod
FULLY_CONNECTED:FullyConnected GATHER:Gather GELU:Gelu GREATER:Greater GREATER_EQUAL:GreaterEqual HARD_SWISH:HardSwish
L2_NORMALIZATION:L2Norm LEAKY_RELU:LeakyRelu LESS:Less LESS_EQUAL:LessEqual
LOCAL_RESPONSE_NORMALIZATION:LocalResponseNormalization LOGICAL_AND:LogicalAnd LOGICAL_NOT:LogicalNot
LOGICAL_OR:LogicalOr LOG_SOFTMAX:LogSoftmax MAXIMUM:MaximumMinimum MAX_POOL_2D:Pool2D MEAN:Reducer
MINIMUM:MaximumMinimum MIRROR_PAD:MirrorPad MUL:Mul NEG:Neg NOT_EQUAL:NotEqual PACK:Pack PAD:Pad PADV2:PadV2 POW:Pow
QUANTIZE:Quantize RANGE:Range REDUCE_MAX:Reducer REDUCE_MIN:Reducer REDUCE_PROD:Reducer RESHAPE:Reshape
RESIZE_BILINEAR:ResizeBilinear RESIZE_NEAREST_NEIGHBOR:ResizeNearestNeighbor REVERSE_V2:ReverseV2 SELECT:Select
SELECT_V2:SelectV2 SHAPE:Shape SLICE:Slice SOFTMAX:Softmax SPACE_TO_BATCH_ND:SpaceToBatchND
SPACE_TO_DEPTH:SpaceToDepth SPLIT:Split SPLIT_V:SplitV SQUARE:Square SQUARED_DIFFERENCE:SquaredDifference
SQUEEZE:Squeeze STRIDED_SLICE:StridedSlice SUB:Sub SUM:Reducer TILE:Tile TRANSPOSE:Transpose
TRANSPOSE_CONV:TransposeConv UNPACK:Unpack ZEROS_LIKE:ZerosLike
"""
_WITHOUT = "CEIL ELU FLOOR LOG LOGISTIC PRELU RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SIGN SIN SQRT TANH"
SETTINGS: Mapping[str, str] = {
    **{name: f"{kind}Options" for name, kind in (each.split(":") for each in _WITH_SETTINGS.split())},
    **dict.fromkeys(_WITHOUT.split(), ""),
}
"""By operator, what its settings are called in the format; empty where it has none."""
_WHY: Mapping[str, str] = {
    "brings code of its own": "CUSTOM DELEGATE STABLEHLO_CUSTOM_CALL STABLEHLO_COMPOSITE",
    "runs another graph, or loops": "CALL CALL_ONCE IF WHILE STABLEHLO_WHILE STABLEHLO_CASE STABLEHLO_REDUCE "
    "STABLEHLO_REDUCE_WINDOW STABLEHLO_SCATTER STABLEHLO_SORT",
    "keeps something from one image to the next": "VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE SVDF RNN LSTM "
    "UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN",
    "draws random numbers": "RANDOM_STANDARD_NORMAL RANDOM_UNIFORM MULTINOMIAL STABLEHLO_RNG_BIT_GENERATOR",
    "looks tables up": "HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE HASHTABLE_LOOKUP EMBEDDING_LOOKUP "
    "EMBEDDING_LOOKUP_SPARSE LSH_PROJECTION SKIP_GRAM",
    "picks boxes or the best few, which is no part of giving scores to classes": "NON_MAX_SUPPRESSION_V4 "
    "NON_MAX_SUPPRESSION_V5 TOPK_V2 ARG_MIN WHERE UNIQUE",
}
REASONS: Mapping[str, str] = {name: reason for reason, names in _WHY.items() for name in names.split()}
"""Why some others are not taken."""
