"""An ONNX graph made into a TensorRT engine, for the GPU at hand or, by TensorRT for RTX, for one that is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.bundle import Precision
from core.devices import Device
from core.errors import RunFailed
from runtimes.runtime import NO_AIDS, Aids
from runtimes.tensorrt_facts import EngineFacts
from runtimes.tensorrt_module import RTX, keeping_log, load, module_name, on_gpu, refusal, words
from runtimes.tensorrt_progress import BuildProgress, monitor
from runtimes.tensorrt_timings import Timings

_MIB = 2**20


@dataclass(frozen=True)
class Order:
    """What an engine is built from, for which GPU, and how."""

    onnx: bytes
    shape: tuple[int, ...]
    """Of one image: C, H, W."""
    target: Device
    """The GPU at hand, or one of a generation that is elsewhere."""
    is_ahead: bool = False
    """Whether the target is elsewhere."""
    precision: Precision = "fp32"
    """That of the graph, which decides it."""
    batches: tuple[int, int, int] = (1, 16, 256)
    """Smallest, usual and largest."""
    effort: int = 3
    workspace_mib: int = 0
    """0 for all there is."""
    skips_fours: bool = False
    """Whether kernels may be taken that skip zeros in the 2:4 pattern, where it is found and they are faster."""


@dataclass(frozen=True)
class Engine:
    """What came of an order."""

    content: bytes
    """Serialised."""
    facts: EngineFacts


def build_engine(order: Order, aids: Aids = NO_AIDS) -> Engine:
    """The engine. Takes seconds to minutes, and reports how far it is.

    Networks are strongly typed: their precision is that of the graph. Raises `Unavailable` where nothing builds for the
    target, and `RunFailed` with the parser's words, or with the builder's last ones.
    """
    trt = load(module_name(ahead=order.is_ahead))
    with on_gpu(None if order.is_ahead else order.target):
        log = keeping_log(trt)
        builder = trt.Builder(log)
        network, _parser = _parsed(trt, builder, order.onnx, log)  # the parser owns the weights
        config = _config(trt, builder, order)
        timings = Timings(trt, order.target, aids.cache)
        reused = timings.attach(config)
        config.progress_monitor = watching = monitor(trt, BuildProgress(aids.report))
        content = builder.build_serialized_network(network, config)
        del watching
        if content is None:
            raise _not_built(log.errors, order)
        timings.keep(config)
        return Engine(bytes(content), _facts(trt, order, reused=reused))


def _parsed(trt: Any, builder: Any, onnx: bytes, log: Any) -> tuple[Any, Any]:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        raise refusal(parser)
    return network, parser


def _config(trt: Any, builder: Any, order: Order) -> Any:
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("input", *((batch, *order.shape) for batch in order.batches))
    config.add_optimization_profile(profile)
    config.builder_optimization_level = order.effort
    # Without it an engine cannot say what its layers are; it does not change how they run.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if order.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace_mib * _MIB)
    if order.skips_fours:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if trt.__name__ == RTX and order.target.compute_capability:
        # Left to itself it builds for every generation since Ampere, larger and without what only the newer ones have.
        major, minor = order.target.compute_capability
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{major}{minor}"), 0)
    return config


def _not_built(errors: list[str], order: Order) -> RunFailed:
    said = words(errors[-1]) if errors else "it did not say why"
    if order.workspace_mib and ("OutOfMemory" in said or "workspace" in said):
        return RunFailed(
            f"TensorRT built no engine with a workspace of {order.workspace_mib} MiB: {said}",
            action="Allow more workspace, or a smaller largest batch",
        )
    return RunFailed(
        f"TensorRT built no engine from the graph: {said}", action="Choose another precision, or another runtime"
    )


def _facts(trt: Any, order: Order, *, reused: bool) -> EngineFacts:
    return EngineFacts(
        module=trt.__name__,
        version=trt.__version__,
        compute_capability=order.target.compute_capability,
        gpu=order.target.name,
        is_ahead=order.is_ahead,
        precision=order.precision,
        batches=order.batches,
        effort=order.effort,
        workspace_mib=order.workspace_mib,
        skips_fours=order.skips_fours,
        reused_timings=reused,
    )
