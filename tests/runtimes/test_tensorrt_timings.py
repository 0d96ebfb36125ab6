"""The file that the timing cache is kept in, with a stand-in for the builder; a real one is in tests/gpu."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.devices import Device
from runtimes.tensorrt_timings import Timings, timings_name

TENSORRT = SimpleNamespace(__name__="tensorrt", __version__="10.13.3")
RTX = SimpleNamespace(__name__="tensorrt_rtx", __version__="1.7.1")
GPU = Device("cuda:0", "cuda", "NVIDIA H200 (SXM)", 2**37, (9, 0))


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class Config:
    """Refuses what is damaged, as the builder does, and learns something while it builds."""

    cache: Cache | None = None

    def create_timing_cache(self, content: bytes) -> Cache | None:
        return None if content == b"damaged" else Cache(content)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        if ignore_mismatch or cache.content == b"another GPU's":
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache

    def build(self) -> None:
        assert self.cache
        self.cache = Cache(self.cache.content + b"+timed")


def test_what_one_build_learned_the_next_one_has(tmp_path: Path) -> None:
    for expected in (b"+timed", b"+timed+timed"):
        config, timings = Config(), Timings(TENSORRT, GPU, tmp_path)
        assert timings.attach(config) is (expected != b"+timed")
        config.build()
        timings.keep(config)
        assert (tmp_path / "tensorrt-10.13.3-nvidia-h200-sxm.timing").read_bytes() == expected
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"damaged", b"another GPU's"])
def test_what_is_of_no_use_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / timings_name(TENSORRT, GPU)).write_bytes(content)
    config, timings = Config(), Timings(TENSORRT, GPU, tmp_path)
    assert timings.attach(config) is False
    config.build()
    timings.keep(config)
    assert (tmp_path / timings_name(TENSORRT, GPU)).read_bytes() == b"+timed"


@pytest.mark.parametrize(("module", "has_folder"), [(RTX, True), (TENSORRT, False)])
def test_nothing_is_kept_where_it_has_no_effect_or_no_place(
    module: SimpleNamespace, has_folder: bool, tmp_path: Path
) -> None:
    config, timings = Config(), Timings(module, GPU, tmp_path if has_folder else None)
    assert timings.attach(config) is False
    assert config.cache is None
    timings.keep(config)
    assert not list(tmp_path.iterdir())
