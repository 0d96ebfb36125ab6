"""What a parser lists beside the facts of a data set: a line for every image that can be read."""

from __future__ import annotations

from typing import Literal, TypeAlias

INDEX_FILE = "index.json"
SplitName = Literal["train", "calibrate", "test", "all"]
Entry: TypeAlias = str | int
"""Name of an entry of a zip; of arrays the number of a row, those of `x_train` before those of `x_test`."""
Line: TypeAlias = tuple[Entry, int, SplitName]
"""Where an image is, the number of its class (-1 without a label) and the split that the file puts it into."""
