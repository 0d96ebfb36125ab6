from __future__ import annotations

from typing import Any

import pytest

from core.divergence import Comparison, Divergence


def comparison(tensor: str, relative: float | None, module: str = "") -> Comparison:
    return Comparison(tensor=tensor, module=module, relative=relative, diverges=relative is None or relative > 0.1)


def divergence(*probed: Comparison, **found: Any) -> Divergence:
    return Divergence(images=8, tolerance=0.1, comparable=20, probed=probed, **found)


def test_a_layer_that_stands_out_is_named_with_its_difference() -> None:
    found = divergence(
        comparison("relu", 0.02),
        comparison("conv2d_1", 0.5),
        tensor="conv2d_1",
        layers=("b.conv",),
        clean_before=("relu",),
    )
    assert found.relative == 0.5
    assert not found.is_gradual
    assert found.verdict == (
        "It begins at b.conv: its result differs by 50 % on 8 images, where 10 % would be explained."
    )


def test_a_difference_that_grew_before_is_not_blamed_on_one_layer() -> None:
    found = divergence(
        comparison("relu", 0.09),
        comparison("conv2d_1", 0.11),
        tensor="conv2d_1",
        layers=("b.conv",),
        clean_before=("relu",),
    )
    assert found.is_gradual
    assert "grows from layer to layer" in found.verdict


def test_without_any_beyond_the_tolerance_the_largest_is_told() -> None:
    none = divergence(comparison("relu", 0.02, "act"), comparison("linear", 0.07, "head"))
    assert none.relative == 0.07
    assert "No single layer stands out" in none.verdict
    assert "the largest difference is 7 %, at linear in head" in none.verdict


def test_a_result_that_bears_the_name_of_its_layer_is_named_once() -> None:
    assert divergence(comparison("pool", 0.02, "pool")).verdict.count("pool") == 1


def test_what_is_not_finite_is_larger_than_any_number() -> None:
    found = divergence(comparison("a", 3.0), comparison("b", None, "block"), tensor="b", clean_before=())
    assert found.largest.tensor == "b"
    assert found.relative is None
    assert found.verdict.startswith("b in block gives values that are not finite on 8 images")


@pytest.mark.parametrize(("layers", "named"), [(("a", "b"), "a, b"), (tuple("abcde"), "a, b, c and 2 more")])
def test_several_layers_are_named_up_to_three(layers: tuple[str, ...], named: str) -> None:
    assert f"It begins at {named}:" in divergence(comparison("t", 0.5), tensor="t", layers=layers).verdict


def test_it_survives_json() -> None:
    found = divergence(comparison("b", None), tensor="b", op="aten.conv2d", layers=("block",), clean_before=("a",))
    assert Divergence.model_validate_json(found.model_dump_json()) == found
