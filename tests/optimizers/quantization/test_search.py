from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as File
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.bundle import ModelBundle
from core.data import Split
from core.progress import Progress
from core.quantization import Path, PathPoint, Upgrade
from optimizers.quantization.quantizer import Bits, Quantized, Source
from optimizers.quantization.search import Judge, bits_after, walk
from tests.optimizers.conftest import CONTRACT, DATA, TinyNet, bundle_of, events_and_result

LAYERS = tuple(f"layer{index}" for index in range(10))
ORDER = tuple(Upgrade(layer=layer, from_bits=8, to_bits=32) for layer in LAYERS)
START = dict.fromkeys(LAYERS, 8)
IMAGES = 200


class Losing:
    """Each layer in 8 bits costs some images, those at the front of the order most."""

    def quantize(self, bits: Bits) -> Quantized:
        lost = sum(10 - LAYERS.index(layer) for layer in bits)
        return Quantized(SimpleNamespace(lost=lost, layers=len(bits)), "int8", {})  # type: ignore[arg-type]


@contextmanager
def serve(bundle: ModelBundle) -> Iterator[Any]:
    lost, layers = getattr(bundle.network, "lost", 0), getattr(bundle.network, "layers", 0)

    def run(x: np.ndarray) -> np.ndarray:
        wrong = x[:, 0] < lost
        return np.stack([~wrong, wrong], axis=1).astype(np.float32)

    yield SimpleNamespace(run=run, p50_ms=lambda: 10.0 - layers, size_bytes=100 * (20 - layers))


def judge(*, labelled: bool = True) -> Judge:
    labels = np.full((IMAGES, 1), 0 if labelled else -1)
    x = np.arange(IMAGES, dtype=np.float32)[:, None]
    return Judge(x, Split(np.zeros((IMAGES, 1, 1, 1), np.uint8), labels), np.zeros(IMAGES, np.int64))


def find(limit_points: float, *, labelled: bool = True) -> tuple[list[Any], Path]:
    source = Source(TinyNet(), LAYERS, CONTRACT, DATA.calibrate.pixels.astype(np.float32), "cnn", File(), 1)
    return events_and_result(
        walk(
            source,
            Losing(),
            ORDER,
            start=START,
            bundle=bundle_of(TinyNet()),
            judge=judge(labelled=labelled),
            limit_points=limit_points,
            serve=serve,
        )
    )


def lost_after(count: int) -> float:
    """By hand: layer i in 8 bits costs 10 - i of 200 images."""
    return 100 * sum(10 - index for index in range(count, 10)) / IMAGES


def margin(lost: float) -> float:
    """One standard error of a share in percentage points, with one image more than was changed."""
    share = lost / 100
    return float(100 * np.sqrt((share * (1 - share) + 1 / IMAGES) / IMAGES))


@pytest.mark.parametrize("limit", [0.1, 0.5, 3, 5, 14, 18, 27.5, 40])
def test_the_fewest_layers_that_keep_within_the_limit_are_found(limit: float) -> None:
    keeping = (count for count in range(11) if lost_after(count) + margin(lost_after(count)) <= limit)
    expected = next(keeping, 10)
    assert find(limit)[1].chosen == expected


def test_every_point_is_what_the_served_network_showed() -> None:
    events, path = find(5)
    for point in path.points:
        lost = round(IMAGES * lost_after(point.upgrades) / 100)
        assert (point.correct, point.agreed, point.images) == (IMAGES - lost, IMAGES - lost, IMAGES)
        assert point.margin_points == pytest.approx(margin(lost_after(point.upgrades)))
        in_8_bits = 10 - point.upgrades
        assert (point.p50_ms, point.size_bytes) == (10.0 - in_8_bits, 100 * (20 - in_8_bits))
    counts = [point.upgrades for point in path.points]
    assert counts == sorted(set(counts))
    assert {0, 1, 2, 4, 8, 10} <= set(counts)
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == list(range(1, len(path.points) + 1))
    assert (path.float_correct, path.limit_points, path.order) == (IMAGES, 5, ORDER)


def test_without_labels_agreement_decides() -> None:
    path = find(5, labelled=False)[1]
    assert path.chosen == find(5)[1].chosen
    assert path.float_correct is None
    assert all(point.correct is None for point in path.points)


def test_bits_climb_along_the_order() -> None:
    order = (
        Upgrade(layer="a", from_bits=4, to_bits=8),
        Upgrade(layer="b", from_bits=4, to_bits=8),
        Upgrade(layer="a", from_bits=8, to_bits=32),
    )
    start = {"a": 4, "b": 4, "c": 4}
    assert [bits_after(order, count, start=start) for count in range(4)] == [
        {"a": 4, "b": 4, "c": 4},
        {"a": 8, "b": 4, "c": 4},
        {"a": 8, "b": 8, "c": 4},
        {"b": 8, "c": 4},
    ]


def test_points_lost_are_of_accuracy_where_there_are_labels() -> None:
    labels = np.zeros((IMAGES, 1), np.int64)
    labels[:100] = 1  # the float network is wrong on these
    half = Judge(
        np.zeros((IMAGES, 1), np.float32),
        Split(np.zeros((IMAGES, 1, 1, 1), np.uint8), labels),
        np.zeros(IMAGES, np.int64),
    )
    point = PathPoint(upgrades=0, correct=90, agreed=150, images=IMAGES, p50_ms=1, size_bytes=1)
    assert half.float_correct == 100
    assert point.lost_points(half.float_correct) == pytest.approx(5)
    assert point.model_copy(update={"correct": None}).lost_points(half.float_correct) == pytest.approx(25)


def test_the_margin_is_the_standard_error_of_a_paired_difference() -> None:
    """Against the spread of the loss over many samples of the same two networks."""
    random = np.random.default_rng(0)
    share_broken, share_mended, images = 0.05, 0.02, 1000
    losses, margins = [], []
    for _ in range(2000):
        draw = random.random(images)
        broken, mended = draw < share_broken, draw > 1 - share_mended
        labels = np.zeros((images, 1), np.int64)
        split = Split(np.zeros((images, 1, 1, 1), np.uint8), labels)
        seen = Judge(np.zeros((images, 1), np.float32), split, np.where(mended, 1, 0))
        answers = np.where(broken, 1, 0)
        losses.append(100 * (broken.sum() - mended.sum()) / images)
        margins.append(seen.margin_points(answers))
    assert np.mean(margins) == pytest.approx(np.std(losses), rel=0.05)
