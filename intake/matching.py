"""Whether uploaded weights are those of an architecture, tensor by tensor. Plain data: nothing here imports torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.errors import Refused
from intake.items import TensorFacts

Shape = tuple[int, ...]
SHOWN = 12
"""Names in a sentence, at most."""
_COUNTER = "num_batches_tracked"
"""Of BatchNorm: older files lack it, and nothing is computed from it."""
_CONSTANTS = ("relative_position_index", "relative_coords_table", "attn_mask", "position_ids")
"""What libraries kept beside weights in some versions only: it follows from the size of the input."""
_DEEPEST_PREFIX = 3
_EXTRA_TOKENS = (1, 0, 2, 5)
"""Of vision transformers beside those of the patches: for the class, distillation and registers."""


@dataclass(frozen=True)
class Matched:
    """Weights that fit."""

    names: Mapping[str, str]
    """For each tensor of the network, what it is called in the file."""
    notes: tuple[str, ...]
    """What was stripped or left out, a sentence each."""


@dataclass(frozen=True)
class Mismatch:
    """Weights that do not fit, and in what."""

    title: str
    """Of the architecture."""
    classes: int
    """That it was built for."""
    fitting: int
    """Tensors that are there in the right shape."""
    wanted: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    shapes: Mapping[str, tuple[Shape, Shape]]
    """Tensors of another shape: in the file, and in the architecture."""
    offered_classes: int | None = None
    """Number of classes for which all would fit."""
    offered_side: int | None = None
    """Side of square images for which the position embedding would fit."""
    offered_channels: int | None = None
    """Channels of images for which all would fit."""

    @property
    def is_close(self) -> bool:
        """Whether it is this architecture, for other classes or images."""
        return (self.offered_classes, self.offered_side, self.offered_channels) != (None, None, None)

    def refusal(self, nearest: Iterable[str] = ()) -> Refused:
        """The same as an error with its way out; `nearest` are architectures that all weights would fit."""
        if (classes := self.offered_classes) is not None:
            return Refused(
                f"The weights have {classes:,} classes", expected=f"{self.classes:,}", action=_choose_classes(classes)
            )
        if (side := self.offered_side) is not None:
            size = f"{side} x {side} pixels"
            return Refused(f"The weights are for images of {size}: {self._example('pos')}", action=f"Choose {size}")
        if (channels := self.offered_channels) is not None:
            colour = "grey" if channels == 1 else "colour"
            return Refused(
                f"The weights are for {colour} images: {self._example('')}", action=f"Choose {colour} images"
            )
        fitting = " or ".join(nearest)
        return Refused(
            f"The weights are not those of {self.title}: {self.fitting:,} of its {self.wanted:,} tensors fit"
            + "".join(f"; {part}" for part in self._differences()),
            expected="each of its tensors in its shape, and no other, because weights that are left out stay random",
            action=f"Choose {fitting}, which they fit"
            if fitting
            else "Choose the architecture that they were trained as",
        )

    def _example(self, part: str) -> str:
        name, (found, wanted) = next(item for item in self.shapes.items() if part in item[0])
        return f"{name} is {_in_words(found)}, where {self.title} has {_in_words(wanted)}"

    def _differences(self) -> Iterable[str]:
        if self.missing:
            yield f"missing are {_listed(self.missing)}"
        if self.extra:
            yield f"not known are {_listed(self.extra)}"
        if self.shapes:
            told = [f"{name} ({_in_words(a)}, not {_in_words(b)})" for name, (a, b) in self.shapes.items()]
            yield f"of another shape are {_listed(told)}"


def match(
    tensors: Mapping[str, TensorFacts],
    expected: Mapping[str, Shape],
    *,
    title: str,
    classes: int,
    training_only: tuple[str, ...] = (),
) -> Matched | Mismatch:
    """Which tensor of a file is which of a network built for so many classes.

    Every tensor has to fit. A prefix that all of the network has in the file is stripped; `training_only` are the
    beginnings of names of what the architecture has in training alone, which is left out.
    """
    prefix = _prefix(tensors, expected)
    found = {name.removeprefix(prefix): facts.shape for name, facts in tensors.items()}
    dropped = [name for name in found if name not in expected and _is_spare(name, training_only)]
    missing = tuple(name for name in expected if name not in found and not _is_spare(name, ()))
    extra = tuple(name for name in found if name not in expected and name not in dropped)
    shapes = {name: (found[name], shape) for name, shape in expected.items() if found.get(name, shape) != shape}
    if not (missing or extra or shapes):
        names = {name: prefix + name for name in expected if name in found}
        return Matched(names, tuple(_notes(prefix, dropped, training_only)))
    return Mismatch(
        title=title,
        classes=classes,
        fitting=sum(name in found and name not in shapes for name in expected),
        wanted=len(expected),
        missing=missing,
        extra=extra,
        shapes=shapes,
        **({} if missing or extra else _offers(shapes, expected, classes)),
    )


def _prefix(tensors: Mapping[str, TensorFacts], expected: Mapping[str, Shape]) -> str:
    """The beginning of most names without which most of them are those of the network; most often empty."""
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), _DEEPEST_PREFIX + 1)))

    def agreement(prefix: str) -> tuple[int, int]:
        known = sum(name.removeprefix(prefix) in expected for name in tensors if name.startswith(prefix))
        return known, -len(prefix)

    return max(("", *(prefix for prefix, count in counts.items() if 2 * count > len(tensors))), key=agreement)


def _is_spare(name: str, training_only: tuple[str, ...]) -> bool:
    """Whether a network answers the same without it."""
    return name.rpartition(".")[2] in (_COUNTER, *_CONSTANTS) or name.startswith(training_only or ("\0",))


def _notes(prefix: str, dropped: list[str], training_only: tuple[str, ...]) -> Iterable[str]:
    if prefix:
        yield f"The names of all tensors began with {prefix!r}, which was stripped."
    auxiliary = [name for name in dropped if training_only and name.startswith(training_only)]
    if auxiliary:
        yield f"Left out: {len(auxiliary)} tensors of auxiliary classifiers, which are used in training only."
    if others := len(dropped) - len(auxiliary):
        yield f"Left out: {others} tensors of constants, which follow from the size of the input."


def _offers(shapes: Mapping[str, tuple[Shape, Shape]], expected: Mapping[str, Shape], classes: int) -> dict[str, int]:
    """The numbers of classes, pixels and channels that would make all of these tensors fit; empty where none would."""
    offers: dict[str, int] = {}
    for name, (found, wanted) in shapes.items():
        kind, number = _offer(name, found, wanted, expected, classes)
        if not number or offers.setdefault(kind, number) != number:
            return {}
    return offers


def _offer(name: str, found: Shape, wanted: Shape, expected: Mapping[str, Shape], classes: int) -> tuple[str, int]:
    """Which number would have to be another for one tensor, and which it would be; 0 where no other would do."""
    if side := _side(name, found, wanted, expected):
        return "offered_side", side
    places = [place for place, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]]
    if len(found) == len(wanted) and places == [0] and wanted[0] == classes:
        return "offered_classes", found[0]
    if len(found) == len(wanted) == 4 and places == [1] and {found[1], wanted[1]} == {1, 3}:
        return "offered_channels", found[1]
    return "", 0


def _side(name: str, found: Shape, wanted: Shape, expected: Mapping[str, Shape]) -> int:
    """Side of the square image that a position embedding [1, patches and tokens, channels] is for; 0 where none is."""
    patches = next((shape[-1] for shape in expected.values() if len(shape) == 4 and shape[1] in (1, 3)), 0)
    if "pos" not in name or len(found) != 3 or found[::2] != wanted[::2]:
        return 0
    for tokens in _EXTRA_TOKENS:
        sides = [math.isqrt(max(0, shape[1] - tokens)) for shape in (found, wanted)]
        if all(side and side**2 + tokens == shape[1] for side, shape in zip(sides, (found, wanted), strict=True)):
            return sides[0] * patches
    return 0


def _choose_classes(classes: int) -> str:
    if classes < 2:
        return "Bring a network that gives a number for each class, two at least"
    return f"Choose {classes:,} classes"


def _in_words(shape: Shape) -> str:
    return " x ".join(f"{side}" for side in shape) or "a single number"


def _listed(names: Iterable[str]) -> str:
    """The first twelve, and how many there are."""
    held = list(names)
    more = f" and {len(held) - SHOWN:,} more" if len(held) > SHOWN else ""
    return f"{', '.join(held[:SHOWN])}{more}"
