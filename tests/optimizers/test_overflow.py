"""Networks that leave the range of fp16 on purpose."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from core.errors import RunFailed
from core.reduced import float32_modules, reduced
from optimizers.overflow import Overflow, find_overflows, repaired
from tests.optimizers.overflowing import Exponential, Overflowing, TakenApartNorm


@pytest.fixture
def network() -> Overflowing:
    torch.manual_seed(0)
    return Overflowing().eval()


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(16, 1, 12, 12)


def test_the_operation_and_its_module_are_named(network: Overflowing, x: Tensor) -> None:
    assert find_overflows(network, x, torch.float16) == (Overflow("norm", "pow"),)


def test_bf16_has_the_range_of_float32(network: Overflowing, x: Tensor) -> None:
    assert find_overflows(network, x, torch.bfloat16) == ()


def test_the_repair_goes_on_behind_the_first_overflow_and_restores_the_answers(network: Overflowing, x: Tensor) -> None:
    mended, found = repaired(network, x, torch.float16)
    assert found == (Overflow("norm", "pow"), Overflow("soft", "exp"))
    assert float32_modules(mended) == ("norm", "soft")
    exact = network(x)
    broken = reduced(copy.deepcopy(network), torch.float16)(x.half()).float()
    kept = reduced(copy.deepcopy(mended), torch.float16)(x.half()).float()
    assert kept.isfinite().all()
    assert torch.equal(kept.argmax(1), exact.argmax(1))
    assert kept.allclose(exact, atol=0.01)
    assert not broken.allclose(exact, atol=0.01)
    assert find_overflows(mended, x, torch.float16) == ()


def test_a_network_that_needs_nothing_is_given_back_itself(network: Overflowing, x: Tensor) -> None:
    same, found = repaired(network, x, torch.bfloat16)
    assert same is network
    assert found == ()


def test_looking_leaves_no_trace(network: Overflowing, x: Tensor) -> None:
    before, math_in_16_bits = copy.deepcopy(network.state_dict()), _math_in_16_bits()
    find_overflows(network, x, torch.float16)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert _math_in_16_bits() == math_in_16_bits


def _math_in_16_bits() -> bool:
    return bool(torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed())


class Fused(nn.Module):
    """A norm in one piece, which PyTorch computes in float32 inside."""

    def __init__(self, norm: nn.Module, factor: float) -> None:
        super().__init__()
        self.norm, self.factor = norm, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.factor * x)


@pytest.mark.parametrize(("norm", "title"), [(nn.LayerNorm(12), "LayerNorm"), (nn.GroupNorm(1, 1), "GroupNorm")])
def test_a_norm_that_engines_take_apart_is_found_by_its_squares(norm: nn.Module, title: str, x: Tensor) -> None:
    assert find_overflows(Fused(norm, 1000), x, torch.float16) == (Overflow("norm", f"squares of {title}"),)
    assert find_overflows(Fused(norm, 10), x, torch.float16) == ()


class Attends(nn.Module):
    def __init__(self, factor: float, *, causal: bool = False) -> None:
        super().__init__()
        self.factor, self.causal = factor, causal

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.factor * x
        return scaled_dot_product_attention(tokens, tokens, tokens, is_causal=self.causal)


def test_attention_is_looked_into_product_by_product(x: Tensor) -> None:
    network = nn.Sequential(Attends(400))
    (found,) = find_overflows(network, x, torch.float16)
    assert found.module == "0"
    assert find_overflows(nn.Sequential(Attends(1)), x, torch.float16) == ()


def test_an_infinite_mask_is_meant_to_be(x: Tensor) -> None:
    assert find_overflows(nn.Sequential(Attends(1, causal=True)), x, torch.float16) == ()


class Infinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x).reciprocal().clamp(-1, 1)


def test_what_is_infinite_in_float32_too_is_not_the_precisions_fault(x: Tensor) -> None:
    assert find_overflows(nn.Sequential(Infinite()), x, torch.float16) == ()


def test_an_operation_in_place_is_found_although_it_overwrites_its_input(x: Tensor) -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 1000).pow_(2).sqrt()

    assert find_overflows(nn.Sequential(InPlace()), x, torch.float16) == (Overflow("0", "pow"),)


def test_a_weight_that_does_not_fit_is_named(x: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 4), nn.BatchNorm1d(4)).eval()
    network[2].running_var.fill_(1e6)
    mended, found = repaired(network, x, torch.float16)
    assert found == (Overflow("2", "running_var"),)
    assert float32_modules(mended) == ("2",)


class Grows(nn.Module):
    """Its result does not fit, only what comes of it later."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1e5


def test_a_result_that_does_not_fit_takes_the_module_around_along(x: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Sequential(Grows(), TakenApartNorm(144)), nn.Linear(144, 4)).eval()
    mended, found = repaired(network, x, torch.float16)
    assert Overflow("1.0", "cast to 16 bits") in found
    assert float32_modules(mended) == ("1",)
    assert reduced(copy.deepcopy(mended), torch.float16)(x.half()).isfinite().all()


@pytest.mark.parametrize("where", ["in the forward of the network", "in its result"])
def test_what_would_take_the_whole_network_is_refused_with_the_reason(where: str, x: Tensor) -> None:
    network = Grows() if where == "in the forward of the network" else nn.Sequential(Exponential(), Grows())
    with pytest.raises(RunFailed, match=r"no part of the network could stay in float32.*Choose bf16"):
        repaired(network, x, torch.float16)
