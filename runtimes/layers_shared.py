"""What every engine's profile needs: enough calls, and the arithmetic of a layer from its shapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import prod

FEWEST_CALLS = 5
MOST_CALLS = 100
SECONDS = 1.5
WARM_UP_SECONDS = 0.2

Shape = Sequence[int]


def warm_up(infer: Callable[[], object]) -> int:
    """Call for 0.2 s, three times at least; how often."""
    calls, end = 0, time.perf_counter() + WARM_UP_SECONDS
    while calls < 3 or (time.perf_counter() < end and calls < MOST_CALLS):
        infer()
        calls += 1
    return calls


def call_repeatedly(infer: Callable[[], object], *, most: int = MOST_CALLS) -> list[float]:
    """Call `most` times, or for 1.5 s but five times at least; ms of each call."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < FEWEST_CALLS or (len(times) < most and time.perf_counter() < end):
        times.append(time_ms(infer))
    return times


def time_ms(infer: Callable[[], object]) -> float:
    """One call."""
    began = time.perf_counter_ns()
    infer()
    return (time.perf_counter_ns() - began) / 1e6


def convolution_macs(output: Shape, weight: Shape, *, output_channels: int) -> int:
    """Of weight[O, I / groups, ...] at every position of the output, in whatever layout and padding that is stored."""
    return prod(output) // output_channels * prod(weight)


def matmul_macs(output: Shape, inner: int) -> int:
    """Of a matrix product whose rows and columns have `inner` elements."""
    return prod(output) * inner


def attention_macs(query: Shape, key: Shape, value: Shape) -> int:
    """Of softmax(query @ key^T) @ value, with query[..., L, E], key[..., S, E] and value[..., S, V]."""
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def module_of(weight: str) -> str:
    """`features.3` for `features.3.weight_quantized`; empty where the exporter renamed the weight."""
    module, found, _ = weight.rpartition(".weight")
    return module if found else ""
