from __future__ import annotations

import pytest
import torch

from optimizers.passes import Passes
from tests.optimizers.conftest import TinyNet


@pytest.mark.parametrize(("most_bytes", "calls"), [(10**6, 1), (16 * 36 * 4 * 4, 1), (16 * 36 * 4 * 4 - 1, 3), (0, 3)])
def test_what_comes_before_a_layer_is_computed_once_where_there_is_room(most_bytes: int, calls: int) -> None:
    network, called = TinyNet().eval(), []
    x = torch.randn(4, 1, 12, 12)  # the block reads 16 channels of 6 x 6
    with torch.no_grad():
        passes = Passes(network, x, most_bytes=most_bytes)
        network.stem[0].register_forward_hook(lambda *_: called.append("stem"))
        wanted = network(x)
        called.clear()
        for _ in range(3):
            assert torch.equal(passes.logits(x, batch=0, place=passes.place_of("block.0")), wanted)
    assert len(called) == calls


def test_later_layers_have_less_to_compute() -> None:
    with torch.no_grad():
        passes = Passes(TinyNet().eval(), torch.randn(2, 1, 12, 12), most_bytes=0)
        passes.timed(torch.randn(64, 1, 12, 12))
    seconds = [passes.seconds_from(passes.place_of(layer)) for layer in ("stem.0", "block.0", "head")]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] > 0
