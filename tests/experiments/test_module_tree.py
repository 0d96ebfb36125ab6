from __future__ import annotations

from core.anatomy import Anatomy
from experiments.module_tree import blocks, fewest, leaves, module_paths, modules_of, with_module_names
from tests.experiments.profiled import ANATOMY, LAYERS, MACS, layer, layer_profile, module, other


def test_layers_lie_in_the_modules_whose_names_they_bear() -> None:
    assert module_paths(layer_profile(), ANATOMY) == (
        ("stem",), ("body", "0", "conv1"), ("body", "0", "conv2"), ("body", "0"), ("head", "0"),
    )  # fmt: skip
    assert leaves(LAYERS, module_paths(layer_profile(), ANATOMY)) == (
        ("stem",), ("body", "0", "conv1"), ("body", "0", "conv2"), ("body", "0", "Add"), ("head", "0"),
    )  # fmt: skip


def test_what_bears_no_module_s_name_lies_in_what_is_around_it() -> None:
    layers = [
        layer("a.0.conv", 1),
        other("relu", 1, "Relu"),
        layer("a.0.out", 1),
        other("add_1", 1, "Add"),
        other("add_2", 1, "Add"),
        layer("a.1.conv", 1),
        other("mean", 1, "Mean"),
        layer("head", 1),
    ]
    anatomy = Anatomy(images=1, memory=(), modules=tuple(map(module, ("a.0.conv", "a.0.out", "a.1.conv", "head"))))
    for known in (anatomy, None):
        paths = module_paths(layer_profile(layers), known)
        assert paths[1] == ("a", "0")
        assert paths[3] == paths[4] == ("a",)
        assert paths[6] == ()
    assert leaves(layers, paths)[3] == ("a", "Add ×2")
    assert leaves(layers, paths)[6] == ("Mean",)


def test_layers_whose_names_got_lost_are_told_by_their_order_and_what_they_multiply() -> None:
    names = ("embed", "0.qkv", "0.proj", "0.mlp", "1.qkv", "head")
    macs = (1, 6, 2, 4, 6, 9)
    modules = [module(name, macs=count * MACS) for name, count in zip(names, macs, strict=True)]
    anatomy = Anatomy(images=1, memory=(), modules=(*modules, module("norm", macs=0)))
    layers = [
        layer("embed", 1, macs=2 * MACS),
        layer("node_MatMul_1", 1, macs=12 * MACS),
        layer("node_scores", 1, macs=8 * MACS, weight_bytes=0),  # attention itself has no weights
        layer("node_MatMul_2", 1, macs=8 * MACS),
        layer("node_MatMul_3", 1, macs=12 * MACS),
        layer("node_MatMul_4", 1, macs=7 * MACS),  # multiplies as no module does
        layer("head", 1, macs=18 * MACS),
    ]
    found = modules_of(layer_profile(layers, batch_size=2), anatomy)
    assert found == (("embed",), ("0.qkv",), (), ("0.mlp",), ("1.qkv",), (), ("head",))
    renamed = with_module_names(layer_profile(layers, batch_size=2), anatomy)
    assert [each.name for each in renamed.layers] == [
        "embed", "0.qkv", "node_scores", "0.mlp", "1.qkv", "node_MatMul_4", "head",
    ]  # fmt: skip


def test_blocks_are_named_and_not_what_holds_them_all() -> None:
    paths = [("features", "0", "conv"), ("features", "1", "conv"), ("features",), ("head",), ()]
    assert blocks(paths, [50, 40, 5, 4, 1]) == {"features.0": 50, "features.1": 40, "features": 5, "head": 4, "": 1}
    assert blocks(paths, [30, 30, 0, 40, 0]) == {"features": 60, "head": 40, "": 0}
    assert blocks([("only",)], [3]) == {"only": 3}
    assert blocks([()], [3]) == {"": 3}


def test_how_few_make_up_half() -> None:
    assert fewest([1, 1, 1, 1]) == 2
    assert fewest([10, 1, 1]) == 1
    assert fewest([]) == 0
