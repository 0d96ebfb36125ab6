"""The studio's own form of a Keras network, as far as it can be told without TensorFlow."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridges.keras.form import described
from core.errors import BadInput

TOLD = {"api": "tf_keras", "class_name": "Sequential", "config": {"name": "net", "layers": []}}


def file_of(told: Any = TOLD, **arrays: Any) -> bytes:
    """A file with that configuration."""
    file = BytesIO()
    np.savez(file, config=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)
    return file.getvalue()


def test_what_is_written_is_read() -> None:
    weights = [np.ones((2, 3), np.float32), np.zeros(3, np.float32)]
    found = described(file_of(w0=weights[0], w1=weights[1]))
    assert (found.api, found.class_name, found.config) == ("tf_keras", "Sequential", TOLD["config"])
    assert [weight.tolist() for weight in found.weights] == [weight.tolist() for weight in weights]
    assert found.parameter_count == 9


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    marker = tmp_path / "opened"
    with pytest.raises(BadInput, match="damaged"):
        described(file_of(w0=np.array([Payload(marker)], object)))
    assert not marker.exists()


def test_nothing_is_unpacked_that_takes_more_memory_than_the_file_has_bytes() -> None:
    packed, plain = BytesIO(), file_of(w0=np.zeros(1000, np.float32))
    np.savez_compressed(packed, config=np.frombuffer(json.dumps(TOLD).encode(), np.uint8), w0=np.zeros(10**6, "f4"))
    with pytest.raises(BadInput, match="entries are packed"):
        described(packed.getvalue())
    with zipfile.ZipFile(BytesIO(plain)) as file:
        size = file.getinfo("w0.npy").file_size.to_bytes(4, "little")
    place = plain.rindex(size)  # the directory at the end is what a zip is read by
    with pytest.raises(BadInput, match="claims to hold"):
        described(plain[:place] + (1 << 30).to_bytes(4, "little") + plain[place + 4 :])


def bare_array() -> bytes:
    file = BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 no zip",
        b"\x80\x04N.",
        bare_array(),
        file_of()[:-40],
        file_of([1]),
        file_of({**TOLD, "api": "torch"}),
        file_of({**TOLD, "class_name": "Lambda"}),
        file_of(w1=np.zeros(3, np.float32)),
        file_of(w0=np.zeros(3, np.int64)),
        file_of(w0=np.float32([np.nan])),
    ],
)
def test_damaged_files_are_refused(content: bytes) -> None:
    with pytest.raises(BadInput):
        described(content)
