"""What is found out about a set of images while each is looked at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.data import Pixels
from core.errors import Refused
from intake.index import INDEX_FILE, Entry, Line, SplitName
from intake.items import LISTED, MOST_THUMBNAILS, THUMBNAIL, THUMBNAILS_FILE, SkippedImage
from intake.limits import LIMITS
from intake.parsing.geometry import channels_first
from intake.parsing.images import WORDS, Picture
from intake.parsing.untrusted import shown

SAMPLED = 1000
"""Images of which mean and deviation are taken, spread evenly over the set."""
_SAMPLE_SIDE = 128


class Survey:
    """Counts, statistics and thumbnails of the images that were added so far; memory does not grow with pixels."""

    def __init__(self, total: int, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.rows: list[Line] = []
        self.kinds: Counter[str] = Counter()
        self.skipped: list[SkippedImage] = []
        self.skipped_count = 0
        self._sampled = self._colour = 0
        self._stride = max(1, total // SAMPLED)
        self._sum, self._squares = np.zeros(3), np.zeros(3)
        self._thumbnails: list[Pixels] = []
        self._numbers: list[int] = []
        self._wanted = _wanted(len(self.classes))
        self._widths: list[int] = []
        self._heights: list[int] = []

    @property
    def wants_pixels(self) -> bool:
        """Whether the next image counts for mean and deviation, so that it has to be decoded in full."""
        return len(self.rows) % self._stride == 0

    def add(self, entry: Entry, number: int, split: SplitName, picture: Picture) -> None:
        """Take in an image that can be read."""
        if self.wants_pixels:
            self._measure(picture.image)
        self.rows.append((entry, number, split))
        self.kinds.update(picture.kinds)
        self._colour += picture.image.mode == "RGB"
        self._widths.append(picture.size[0])
        self._heights.append(picture.size[1])
        if self._wanted.get(number, 0) > 0:
            self._wanted[number] -= 1
            self._thumbnails.append(_thumbnail(picture.image))
            self._numbers.append(number)

    def skip(self, name: str, reason: str) -> None:
        """Note an image that cannot be read."""
        self.skipped_count += 1
        if len(self.skipped) < LISTED:
            self.skipped.append(SkippedImage(name=shown(name), reason=reason))

    def check(self) -> None:
        """Raise `Refused` where too many images are broken, or none is left."""
        total = len(self.rows) + self.skipped_count
        if self.skipped_count <= LIMITS.broken_share * total and self.rows:
            return
        first = "; ".join(f"{each.name}: {each.reason}" for each in self.skipped[:3])
        raise Refused(
            f"{self.skipped_count:,} of {total:,} images cannot be read ({first})",
            expected=f"at most {LIMITS.broken_share:.0%}",
            action="Repair or remove them and make the zip again",
        )

    def write(self, out: Path) -> None:
        """Write the index and the thumbnails: `pixels` uint8 [N, 96, 96, 3] and `labels` int64 [N], -1 without one."""
        (out / INDEX_FILE).write_text(json.dumps(self.rows))
        order = np.argsort(self._numbers, kind="stable")
        pixels = np.stack(self._thumbnails)[order]
        np.savez_compressed(out / THUMBNAILS_FILE, pixels=pixels, labels=np.array(self._numbers, np.int64)[order])

    @property
    def channels(self) -> int:
        """3 where any image has colour."""
        return 3 if self._colour else 1

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Smallest and largest height, smallest and largest width."""
        return min(self._heights), max(self._heights), min(self._widths), max(self._widths)

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, on the scale 0-255."""
        return tuple((self._sum / self._sampled)[: self.channels].round(3).tolist())

    @property
    def std(self) -> tuple[float, ...]:
        """The same of the deviation."""
        variance = self._squares / self._sampled - (self._sum / self._sampled) ** 2
        return tuple(np.sqrt(np.maximum(variance, 0))[: self.channels].round(3).tolist())

    @property
    def per_class(self) -> tuple[int, ...]:
        """Images of each class."""
        counts = Counter(number for _, number, _ in self.rows)
        return tuple(counts[number] for number in range(len(self.classes)))

    @property
    def counts(self) -> dict[str, int]:
        """Images of each split."""
        return dict(Counter(split for _, _, split in self.rows))

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of image, and one for those that cannot be read."""
        total = len(self.rows)
        said = [_said(self.kinds[kind], total, words) for kind, words in WORDS.items() if self.kinds[kind]]
        if len(self.counts) > 1:
            parts = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
            said.insert(0, f"The data bring splits of their own, which are kept: {parts}")
        if self.skipped_count:
            said.append(_said(self.skipped_count, total + self.skipped_count, "broken or missing; they are skipped"))
        return tuple(said)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes an accuracy mean little."""
        if len(self.classes) == 1:
            return (
                f"There is one class only, {self.classes[0]}, so accuracy means nothing. For images without "
                "labels, put them into the zip without a folder",
            )
        few = sum(count == 1 for count in self.per_class)
        return (f"{few:,} of {len(self.classes):,} classes have a single image",) if few else ()

    def _measure(self, image: Image.Image) -> None:
        """Each image counts the same, whatever its size; pixels are taken as they are, not averaged."""
        side = min(_SAMPLE_SIDE, max(image.size))
        small = image.resize((side, side), Image.Resampling.NEAREST) if max(image.size) > _SAMPLE_SIDE else image
        pixels: NDArray[np.float64] = np.asarray(small.convert("RGB"), np.float64).reshape(-1, 3)
        self._sum += pixels.mean(axis=0)
        self._squares += (pixels**2).mean(axis=0)
        self._sampled += 1


def _said(count: int, total: int, words: str) -> str:
    if count == 1:
        return f"1 of {total:,} images is {words.replace('they are', 'it is')}"
    return f"{count:,} of {total:,} images are {words}"


def _wanted(classes: int) -> dict[int, int]:
    """How many thumbnails each class has: the same of all, or one of every so many."""
    if classes == 0:
        return {-1: MOST_THUMBNAILS}
    shown_classes = min(classes, MOST_THUMBNAILS)
    numbers = [index * classes // shown_classes for index in range(shown_classes)]
    return dict.fromkeys(numbers, MOST_THUMBNAILS // shown_classes)


def _thumbnail(image: Image.Image) -> Pixels:
    """uint8 [96, 96, 3]: the whole image with gray borders."""
    padded = ImageOps.pad(image.convert("RGB"), (THUMBNAIL, THUMBNAIL), color=(128, 128, 128))
    return channels_first(padded).transpose(1, 2, 0)
