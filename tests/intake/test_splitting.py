"""Data sets are divided alike for every class and the same each time, and classes find their counterparts."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from core.errors import BadInput
from intake.splitting import labels_for, match, split


def index(*counts: int, name: str = "all") -> list[list[Any]]:
    """That many images of each class."""
    return [[f"{name}/{number}/{at}", number, name] for number, count in enumerate(counts) for at in range(count)]


def divided(rows: list[Any], train: float = 0.3, calibrate: float = 0.2, seed: int = 0) -> dict[str, Any]:
    return split(rows, train_share=train, calibrate_share=calibrate, seed=seed)


@pytest.mark.parametrize("seed", range(40))
def test_no_image_is_lost_or_in_two_splits_and_every_class_has_its_share(seed: int) -> None:
    random = Random(seed)
    counts = [random.randint(1, 40) for _ in range(random.randint(2, 12))]
    train = random.uniform(0, 0.8)
    rows = index(*counts)
    parts = divided(rows, train=train, seed=seed)
    found = [entry for part in parts.values() for entry, _ in part]
    assert sorted(found) == sorted(row[0] for row in rows)
    assert parts["calibrate"]
    assert parts["test"]
    assert parts == divided(rows, train=train, seed=seed)
    for number, count in enumerate(counts):
        own = sum(label == number for _, label in parts["calibrate"])
        assert abs(own - 0.2 * count) <= 1 + (len(parts["calibrate"]) == 1)


def test_many_small_classes_still_give_their_share_together() -> None:
    parts = divided(index(*[2] * 500), train=0.0, calibrate=0.2)
    assert len(parts["calibrate"]) == pytest.approx(200, abs=25)
    assert not parts["train"]


def test_every_prefix_holds_the_classes_in_equal_shares() -> None:
    test = divided(index(100, 100, 100))["test"]
    counts = Counter(number for _, number in test[:30])
    assert all(abs(counts[number] - 10) <= 1 for number in range(3))


def test_another_seed_divides_otherwise() -> None:
    assert divided(index(20, 20), seed=1) != divided(index(20, 20), seed=2)


def test_splits_of_the_data_are_kept() -> None:
    rows = index(20, 20, name="train") + index(5, 5, name="test")
    parts = divided(rows, train=0.5, calibrate=0.2)
    assert {entry.split("/")[0] for entry, _ in parts["test"]} == {"test"}
    assert {entry.split("/")[0] for entry, _ in parts["train"] + parts["calibrate"]} == {"train"}
    assert [len(parts[name]) for name in ("train", "calibrate", "test")] == [20, 8, 10]
    with_own = divided(rows + index(3, 3, name="calibrate"), train=0.5)
    assert {entry.split("/")[0] for entry, _ in with_own["calibrate"]} == {"calibrate"}
    assert not set(with_own["train"]) & set(with_own["test"])


def test_a_test_set_alone_with_too_little_to_train_on_still_calibrates() -> None:
    parts = divided(index(1, name="train") + index(4, name="test"), train=0.0)
    assert [len(parts[name]) for name in ("train", "calibrate", "test")] == [0, 1, 4]


def test_images_without_labels_and_pairs_without_splits_are_shuffled() -> None:
    parts = divided([[at, -1] for at in range(50)], train=0.0, calibrate=0.2)
    assert [len(parts[name]) for name in ("train", "calibrate", "test")] == [0, 10, 40]
    assert [entry for entry, _ in parts["test"]] != sorted(entry for entry, _ in parts["test"])


@pytest.mark.parametrize("rows", [[], [["a", 0, "all"]]])
def test_too_few_images_get_a_sentence(rows: list[Any]) -> None:
    with pytest.raises(BadInput, match="at least 1 to calibrate on and 1 to judge by"):
        divided(rows)


def test_lines_that_are_no_lines_are_refused() -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        divided([["a", "cat", "all"]])


LABELS = ("Fire_Engine", "tench, Tinca tinca", "T-shirt/top")


def test_classes_are_matched_by_name() -> None:
    assert match(["fire engine", "t-shirt/top", "Tinca tinca"], LABELS, "names") == {0: 0, 1: 2, 2: 1}
    with pytest.raises(BadInput, match="1 of 2 classes of the data are none of the network's: lorry"):
        match(["tench", "lorry"], LABELS, "names")
    with pytest.raises(BadInput, match="does not say what its 10 classes"):
        match(["tench"], (), "names", classes=10)


def test_folders_of_imagenet_match_by_name_and_by_wordnet_id() -> None:
    from sample_models.datasets import photo_contract

    labels = photo_contract().labels
    assert match(["goldfish", "tench"], labels, "names") == {0: 1, 1: 0}
    assert match(["n01440764", "n01443537", "n04356056"], labels, "names") == {0: 0, 1: 1, 2: 837}
    with pytest.raises(BadInput, match="n99999999"):
        match(["n01440764", "n99999999"], labels, "names")


def test_classes_are_matched_by_their_order() -> None:
    assert match(["ant", "bee"], ("Ameise", "Biene"), "order") == {0: 0, 1: 1}
    assert match(["0", "3"], (), "order", classes=10) == {0: 0, 1: 3}
    with pytest.raises(BadInput, match=r"2 classes .*and the network 3"):
        match(["ant", "bee"], (), "order", classes=3)


def test_labels_beyond_the_networks_classes_stop() -> None:
    with pytest.raises(
        BadInput, match=r"label 999 in y\.npz, and the network has 10 classes; expected labels from 0 to 9"
    ):
        match([str(number) for number in range(1000)], (), "order", classes=10, file="y.npz")


def test_a_network_without_names_takes_those_of_the_data_where_there_are_as_many() -> None:
    assert labels_for(("ant", "bee"), (), 2) == ("ant", "bee")
    assert labels_for(("0", "3"), (), 4) == ("0", "1", "2", "3")
    assert labels_for(("ant", "bee"), ("A", "B"), 2) == ("A", "B")


def test_classes_are_what_a_person_says_they_are() -> None:
    assert match(["amber", "red"], (), (2, 0), classes=3) == {0: 2, 1: 0}
    for chosen in ((3,), (-1,), (0, 1)):
        with pytest.raises(BadInput, match="one from 0 to 2 for each of the data's 1 class"):
            match(["amber"], (), chosen, classes=3)


def test_names_are_advised_only_where_the_network_has_some() -> None:
    with pytest.raises(BadInput, match=r"have 1 class \(amber\), and the network 3.* order\. Call each by its number"):
        match(["amber"], (), "order", classes=3)
    with pytest.raises(BadInput, match=r"order\. Match them by name, call each"):
        match(["amber"], ("a", "b", "c"), "order")


def test_numbers_may_count_from_the_class_after_the_background() -> None:
    labels = ("background", "tench", "goldfish")
    assert match(["0", "1"], labels, "background") == {0: 1, 1: 2}
    assert match(["n01440764", "n01443537"], labels, "names") == {0: 1, 1: 2}
    with pytest.raises(BadInput, match="label 2 in the data, and the network has 2 classes"):
        match(["0", "2"], labels, "background")
    with pytest.raises(BadInput, match=r"are not numbers. Match them by name"):
        match(["tench"], labels, "background")
    with pytest.raises(BadInput, match="not the background"):
        match(["0"], labels[1:], "background")
