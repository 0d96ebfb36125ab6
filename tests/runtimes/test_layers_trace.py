from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from runtimes.layers_trace import calls_in, read_trace


def event(name: str, ts: float, dur: float, cat: str = "cpu_op", tid: int = 1, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": cat, "ts": ts, "dur": dur, "tid": tid, "args": args}


def a_call(at: float, *, convolution_us: float = 30, kernel_us: float = 5) -> list[dict[str, Any]]:
    """On the host a graph with two operations, the first in two parts; each launches kernels that run later."""
    launch, launched = int(at), int(at) + 1
    return [
        event("call", at, 100, "user_annotation"),
        event("lookup", at + 1, 5),
        event("## graph ##", at + 10, 80, "user_annotation"),
        event("aten::convolution", at + 12, convolution_us, **{"Input Dims": [[1, 2]], "Concrete Inputs": ["", "3"]}),
        event("aten::_convolution", at + 13, convolution_us - 2),
        event("cudaLaunchKernel", at + 14, 2, "cuda_runtime", correlation=launch),
        event("fused_relu", at + 60, 10),
        event("cuLaunchKernel", at + 61, 2, "cuda_driver", correlation=launched),
        event("other thread", at + 20, 10, tid=2),
        event("implicit_gemm", at + 200, kernel_us, "kernel", tid=9, correlation=launch),
        event("triton_relu", at + 210, 3, "kernel", tid=9, correlation=launched),
    ]


def holds(name: str) -> bool:
    return name.startswith("## graph")


def test_a_call_is_its_outermost_operations_in_order() -> None:
    (call,) = calls_in(a_call(1000), call="call", holds=holds, on_gpu=False)
    assert call.took_us == 100
    assert [(each.name, each.took_us, each.events) for each in call.operations] == [
        ("aten::convolution", 30, 2),
        ("fused_relu", 10, 1),
    ]
    assert call.operations[0].shapes == [[1, 2]]
    assert call.operations[0].values == ["", "3"]
    assert call.events == 6


def test_on_a_gpu_an_operation_takes_as_long_as_the_kernels_it_launched() -> None:
    (call,) = calls_in(a_call(1000), call="call", holds=holds, on_gpu=True)
    assert [(each.name, each.took_us) for each in call.operations] == [("aten::convolution", 5), ("fused_relu", 3)]


def test_a_kernel_that_no_operation_launched_stands_for_itself() -> None:
    extra = [
        event("cudaMemcpyAsync", 1095, 1, "cuda_runtime", correlation=77),
        event("Memcpy DtoH", 1300, 4, "gpu_memcpy", tid=9, correlation=77),
    ]
    (call,) = calls_in(a_call(1000) + extra, call="call", holds=holds, on_gpu=True)
    assert [each.name for each in call.operations] == ["aten::convolution", "fused_relu", "Memcpy DtoH"]


def test_a_call_unlike_most_is_left_out() -> None:
    odd = [each for each in a_call(5000) if each["name"] != "fused_relu"]
    calls = calls_in(a_call(1000) + odd + a_call(9000, convolution_us=40), call="call", holds=holds, on_gpu=False)
    assert [call.operations[0].took_us for call in calls] == [30, 40]


def test_nothing_is_found_where_no_span_holds_the_operations() -> None:
    (call,) = calls_in(a_call(1000), call="call", holds=lambda name: False, on_gpu=False)
    assert not call.operations
    assert calls_in(a_call(1000), call="another", holds=holds, on_gpu=False) == []


def test_a_real_trace_of_torch_reads_like_that() -> None:
    x, weight = torch.ones(2, 8), torch.ones(4, 8)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(3):
            with record_function("call"), record_function("## graph"):
                torch.nn.functional.linear(x, weight).relu()
    calls = calls_in(read_trace(profiler), call="call", holds=holds, on_gpu=False)
    assert [[each.name for each in call.operations] for call in calls] == [["aten::linear", "aten::relu"]] * 3
    assert calls[0].operations[0].shapes[:2] == [[2, 8], [4, 8]]
    assert calls[0].operations[0].types[0] == "float"
    assert 0 < sum(each.took_us for each in calls[0].operations) < calls[0].took_us
