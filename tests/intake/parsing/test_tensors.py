"""Headers, sizes and values against the library of safetensors and against numpy."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

from core.errors import Refused
from core.progress import Progress, result_of
from intake.parsing.tensors import Tensor, c_order, check_names, tensor_in, write
from intake.parsing.untrusted import opened, shown
from tests.hostile.weights import HEADERS, header_case

OURS_ALONE = {"not-finite", "infinite", "bf16-not-finite", "f64-too-large", "f8", "packed-4-bit", "unsigned", "twice"}
"""What the library takes and we do not: it is about values and types, or names that it lets the later one win."""


@pytest.mark.parametrize(("kind", "header"), [row[:2] for row in HEADERS if row[0] not in OURS_ALONE])
def test_the_library_refuses_what_we_call_a_bad_header(kind: str, header: object, tmp_path: Path) -> None:
    file = header_case(kind, header)(tmp_path)
    with pytest.raises(SafetensorError):
        safe_open(file, "numpy")


def test_strided_values_are_those_of_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    content = random.standard_normal(400).astype("<f4")
    (tmp_path / "values").write_bytes(content.tobytes())
    views, tensors = {}, {}
    for turn in range(60):
        shape = tuple(random.integers(1, 5, random.integers(0, 4)))
        strides, first = tuple(random.integers(0, 30, len(shape))), int(random.integers(0, 9))
        views[str(turn)] = np.lib.stride_tricks.as_strided(content[first:], shape, [step * 4 for step in strides])
        sides, steps = tuple(map(int, shape)), tuple(map(int, strides))
        tensors[str(turn)] = tensor_in("F32", sides, steps, first, (0, content.nbytes))
    with opened(tmp_path / "values") as source:
        facts = result_of(write(source, tensors, tmp_path / "out"))
    with safe_open(tmp_path / "out", "numpy") as found:
        for name, view in views.items():
            assert facts[name].shape == view.shape
            np.testing.assert_array_equal(found.get_tensor(name), view)


@pytest.mark.parametrize(
    ("shape", "strides", "first", "fits"),
    [((3, 2), (2, 1), 0, True), ((3, 2), (2, 1), 1, False), ((6,), (1,), 0, True), ((7,), (1,), 0, False),
     ((2,), (5,), 0, True), ((2,), (6,), 0, False), ((0,), (9,), 99, True), ((), (), 5, True), ((), (), 6, False),
     ((7, 1), (0, 0), 0, False)],
)  # fmt: skip
def test_a_tensor_never_reaches_beyond_its_storage(
    shape: tuple[int, ...], strides: tuple[int, ...], first: int, fits: bool
) -> None:
    if fits:
        assert tensor_in("F32", shape, strides, first, (0, 24)).shape == shape
    else:
        with pytest.raises(Refused, match="says more than the file holds"):
            tensor_in("F32", shape, strides, first, (0, 24))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", "bf16"])
def test_values_that_are_not_finite_are_counted_as_numpy_counts_them(dtype: str, tmp_path: Path) -> None:
    import ml_dtypes

    random = np.random.default_rng(2)
    values = random.standard_normal((40, 50)).astype(ml_dtypes.bfloat16 if dtype == "bf16" else dtype)
    values[random.random(values.shape) < 0.02] = np.nan
    values[random.random(values.shape) < 0.02] = -np.inf
    wide = values.astype("f8")
    (tmp_path / "values").write_bytes(values.tobytes())
    kind = {"<f2": "F16", "<f4": "F32", "<f8": "F64", "bf16": "BF16"}[dtype]
    with opened(tmp_path / "values") as source, pytest.raises(Refused) as caught:
        result_of(write(source, {"fc.weight": Tensor(kind, (40, 50), (50, 1), 0)}, tmp_path / "out"))
    assert f"{np.isnan(wide).sum()} NaN and {np.isinf(wide).sum()} infinite of 2,000" in str(caught.value)


def test_memory_stays_flat_whatever_the_size(tmp_path: Path) -> None:
    side = 4096
    with (tmp_path / "values").open("wb") as file:
        file.truncate(side * side * 4)
    tensors = {
        "plain": Tensor("F32", (side, side), (side, 1), 0),
        "turned": Tensor("F32", (side // 4, side), (1, side), 0),
    }
    with opened(tmp_path / "values") as source:
        tracemalloc.start()
        events = list(write(source, tensors, tmp_path / "out"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * 2**20
    assert [event.kind for event in events] == ["progress"] * len(events)
    assert isinstance(events[-1], Progress)
    assert events[-1].done == events[-1].total == 80


def test_shared_memory_cannot_be_multiplied(tmp_path: Path) -> None:
    with (tmp_path / "values").open("wb") as file:
        file.truncate(2**22)
    same = Tensor("F32", (2**20,), (1,), 0)
    with opened(tmp_path / "values") as source, pytest.raises(Refused, match="share their memory"):
        result_of(write(source, {str(turn): same for turn in range(40)}, tmp_path / "out"))


def test_too_many_tensors_are_refused() -> None:
    with pytest.raises(Refused, match="20,001 tensors"):
        check_names([str(turn) for turn in range(20_001)])


def test_c_order_is_that_of_numpy() -> None:
    assert c_order((2, 3, 4)) == tuple(step // 8 for step in np.zeros((2, 3, 4)).strides)


def test_text_of_a_file_is_shown_in_one_line() -> None:
    assert shown("a\nb\0\x1b[1m\udc80é") == r"a\x0ab\x00\x1b[1m\xdc80é"
    assert shown("a" * 121) == "a" * 120 + "…"
