"""Weights that fit an architecture and weights that do not; expected shapes are written by hand."""

import pytest

from intake.items import TensorFacts
from intake.matching import Matched, Mismatch, Shape, match

NETWORK: dict[str, Shape] = {
    "stem.weight": (8, 3, 3, 3),
    "norm.weight": (8,),
    "norm.num_batches_tracked": (),
    "head.weight": (10, 8),
    "head.bias": (10,),
}


def file_of(shapes: dict[str, Shape]) -> dict[str, TensorFacts]:
    return {name: TensorFacts(shape=shape, dtype="F32") for name, shape in shapes.items()}


def matched(shapes: dict[str, Shape], expected: dict[str, Shape] = NETWORK, **options: tuple[str, ...]) -> object:
    return match(file_of(shapes), expected, title="net", classes=10, **options)


def refused(shapes: dict[str, Shape], expected: dict[str, Shape] = NETWORK) -> Mismatch:
    found = matched(shapes, expected)
    assert isinstance(found, Mismatch)
    return found


def test_the_same_tensors_fit_without_a_word() -> None:
    assert matched(NETWORK) == Matched({name: name for name in NETWORK}, ())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone.", "_orig_mod.module."])
def test_a_common_prefix_is_stripped_and_said(prefix: str) -> None:
    found = matched({prefix + name: shape for name, shape in NETWORK.items()})
    assert isinstance(found, Matched)
    assert found.names["head.weight"] == f"{prefix}head.weight"
    assert found.notes == (f"The names of all tensors began with {prefix!r}, which was stripped.",)


def test_a_prefix_that_the_network_itself_has_stays() -> None:
    network = {f"module.{name}": shape for name, shape in NETWORK.items()}
    assert matched(network, network) == Matched({name: name for name in network}, ())


def test_batch_counters_may_be_missing_and_constants_may_be_there() -> None:
    shapes = {name: shape for name, shape in NETWORK.items() if "tracked" not in name}
    found = matched(shapes | {"block.attn_mask": (4, 4)})
    assert isinstance(found, Matched)
    assert "norm.num_batches_tracked" not in found.names
    assert found.notes == ("Left out: 1 tensors of constants, which follow from the size of the input.",)


def test_auxiliary_classifiers_are_left_out_where_the_architecture_has_them() -> None:
    shapes = NETWORK | {"aux1.fc.weight": (10, 4)}
    found = matched(shapes, training_only=("aux1.",))
    assert isinstance(found, Matched)
    assert "1 tensors of auxiliary classifiers" in found.notes[0]
    assert refused(shapes).extra == ("aux1.fc.weight",)


def test_another_number_of_classes_is_offered_with_both_numbers() -> None:
    found = refused(NETWORK | {"head.weight": (7, 8), "head.bias": (7,)})
    assert found.offered_classes == 7
    assert str(found.refusal()) == "The weights have 7 classes; expected 10. Choose 7 classes."
    single = refused(NETWORK | {"head.weight": (1, 8), "head.bias": (1,)})
    assert "two at least" in str(single.refusal())


def test_a_head_of_another_width_is_not_taken_for_other_classes() -> None:
    found = refused(NETWORK | {"head.weight": (7, 9), "head.bias": (7,)})
    assert found.offered_classes is None
    assert "head.weight (7 x 9, not 10 x 8)" in str(found.refusal())


def test_grey_weights_are_offered_as_such() -> None:
    found = refused(NETWORK | {"stem.weight": (8, 1, 3, 3)})
    assert found.offered_channels == 1
    assert "Choose grey images" in str(found.refusal())


def test_position_embeddings_tell_for_which_images_they_are() -> None:
    network = {"patch.weight": (8, 3, 16, 16), "pos_embed": (1, 14 * 14 + 1, 8), "head.weight": (10, 8)}
    found = refused(network | {"pos_embed": (1, 24 * 24 + 1, 8)}, network)
    assert found.offered_side == 384
    assert "Choose 384 x 384 pixels" in str(found.refusal())


def test_several_numbers_are_offered_at_once_but_never_two_for_one() -> None:
    network: dict[str, Shape] = {"patch.weight": (8, 3, 16, 16), "pos_embed": (1, 14 * 14, 8)}
    network |= {"head.weight": (10, 8), "head.bias": (10,)}
    shapes = network | {"pos_embed": (1, 12 * 12, 8), "head.weight": (7, 8), "head.bias": (7,)}
    found = refused(shapes, network)
    assert (found.offered_classes, found.offered_side, found.is_close) == (7, 192, True)
    found = refused(shapes | {"head.bias": (6,)}, network)
    assert (found.offered_classes, found.is_close) == (None, False)


def test_another_architecture_lists_what_is_missing_and_what_is_not_known() -> None:
    many = {f"layers.{number}.weight": (4, 4) for number in range(20)}
    found = refused(many | {"head.weight": (10, 8)})
    assert (found.fitting, found.wanted) == (1, 5)
    words = str(found.refusal(["other"]))
    assert "1 of its 5 tensors fit; missing are stem.weight, norm.weight, head.bias" in words
    assert "layers.0.weight" in words
    assert "layers.11.weight and 8 more" in words
    assert "layers.12.weight" not in words
    assert words.endswith("Choose other, which they fit.")
