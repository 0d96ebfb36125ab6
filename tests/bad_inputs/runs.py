"""Rows about runs: recipes that cannot work, memory that runs out, numbers that are not finite."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import cli
import sample_models
from core.devices import find_device
from core.progress import Event, Note, PhaseStarted, Steps, Telemetry
from experiments import exporting, models, worker
from experiments.compare import variants
from experiments.recipe import Recipe
from experiments.scheduler import Scheduler
from optimizers.magnitude_pruning import MagnitudePruning
from optimizers.technique import Context
from profiling import high_water
from profiling.high_water import HighWater
from tests.bad_inputs.bench import Bench, Row
from tests.experiments.own import COUNTS, SIDE, plant_onnx, plant_torch

QUICK: dict[str, Any] = {"latency_seconds": 1, "sweep_seconds": 0, "threads": 1}
MIB = 2**20
SLEEPER = (sys.executable, "-c", "import sys, time; sys.stdin.readline() and time.sleep(60)")
"""A worker that takes a run and never ends it."""
SEVERAL = {name: 2 * count for name, count in COUNTS.items()}


def without_layers() -> bytes:
    """Means of the channels as logits[N, 4], the last of them 0: nothing is learned in it."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Pad", ["b", "sides"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.array([0, 0, 0, 1]), "sides")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def nothing_to_quantize(bench: Bench) -> str:
    """No layer is there, or none is left: a run that fails, and no variant."""
    said = []
    for key, settings in ((plant_onnx(without_layers(), title="Means"), {}), (plant_onnx(), {"keep": ["*"]})):
        recipe = Recipe.model_validate(
            {"model": key, "runtime": "onnxruntime", "techniques": [{"int8": settings}], "measurement": QUICK}
        )
        record, words = bench.carried_out(recipe)
        assert (record.state, record.summary) == ("failed", None)
        said.append(words)
    return "\n".join(said)


def impossible_ratios(bench: Bench) -> str:
    """Refused by bounds, and not cut down to them; a layer that dies within bounds is named."""
    said = []
    for ratio in (1.0, 1.5):
        path = bench.folder / "recipe.yaml"
        path.write_text(f"model: resnet_fmnist\ntechniques:\n- structured_pruning:\n    ratio: {ratio}\n")
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            assert cli.main(["optimize", str(path)]) == 2
        said.append(printed.getvalue())
    assert bench.store.runs() == []
    return "\n".join([*said, dying_layer(bench)])


def dying_layer(bench: Bench) -> str:
    """One layer's weights are so much smaller than all others that one ranking takes every one of them."""
    import torch

    bundle = models.load(plant_torch())
    network = copy.deepcopy(bundle.module)
    with torch.no_grad():
        network.get_submodule("layer2.0.conv2").weight.mul_(1e-6)
    context = Context(find_device("cpu"), 1, 0, bench.folder, sample_models.build_student)
    working = MagnitudePruning(sparsity=0.5, epochs=0).apply(replace(bundle, network=network), context)
    return "\n".join(each.text for each in working if isinstance(each, Note))


def memory_runs_out(bench: Bench) -> str:
    """On a GPU and on the machine, in training and in measuring, told by the process or found by the system."""
    bench.patch.setattr(high_water, "of_gpu", lambda device: HighWater(12_345 * MIB, 16_384 * MIB))
    recipe = trained(plant_torch(counts=SEVERAL))
    return "\n".join([
        *trained_with_less(bench, recipe),
        trained_in_vain(bench, recipe),
        measured_in_vain(bench, recipe),
        killed_twice(bench, recipe),
    ])  # fmt: skip


def trained(key: str) -> Recipe:
    """A recipe that trains on batches of 64."""
    settings = {"sparsity": 0.5, "epochs": 1, "batch_size": 64}
    return Recipe.model_validate(
        {
            "model": key,
            "techniques": [{"magnitude_pruning": settings}],
            "measurement": QUICK | {"batch_size": 32},
        }
    )


def full_from(batch_size: int) -> Callable[..., Any]:
    """A step of training for which the GPU is too small from so many images at once on."""
    import torch

    from optimizers.training.trainer import Trainer

    real = Trainer._loss

    def loss(self: Trainer, batch: Any, *, is_first: bool) -> Any:
        if len(batch.x) >= batch_size:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return real(self, batch, is_first=is_first)

    return loss


def trained_with_less(bench: Bench, recipe: Recipe) -> list[str]:
    """The run began once more by itself, with batches of 32, of which two make a step."""
    bench.patch.setattr("optimizers.training.trainer.Trainer._loss", full_from(64))
    record = bench.store.run(bench.store.begin_here(recipe))
    assert record
    events: list[Event] = []
    for event in (working := worker._events(bench.store, record)):
        events.append(event)
        if isinstance(event, PhaseStarted) and event.title == "Export":
            working.close()
    bench.store.cancel(record.id)
    begun = [each.title for each in events if isinstance(each, PhaseStarted)]
    assert begun.count("Unstructured pruning") == 2
    return [each.text for each in events if each.kind == "note"]


def trained_in_vain(bench: Bench, recipe: Recipe) -> str:
    """Half as many were too many as well."""
    bench.patch.setattr("optimizers.training.trainer.Trainer._loss", full_from(1))
    record, said = bench.carried_out(recipe)
    assert record.state == "failed"
    page = bench.visit("runs", run=record.id)
    assert any("second attempt" in each.value for each in page.error)
    return said


def measured_in_vain(bench: Bench, recipe: Recipe) -> str:
    """The batch is the person's own: nothing smaller is measured in its place, but offered."""

    def work(*_given: object) -> Iterator[Event]:
        yield PhaseStarted(title="Latency")
        raise MemoryError

    with bench.patch.context() as patch:
        patch.setattr(worker, "_watched", work)
        record, said = bench.carried_out(recipe)
    assert record.state == "failed"
    return said


def killed_twice(bench: Bench, recipe: Recipe) -> str:
    """The system ends the worker, and the worker that begins once more."""
    store, scheduler = bench.store, Scheduler(bench.store, worker=SLEEPER)
    run_id = store.enqueue(recipe)
    for attempt in (1, 2):
        scheduler.tick()
        record = store.run(run_id)
        assert record
        assert record.state == "running"
        store.append(run_id, [
            PhaseStarted(title="Unstructured pruning"),
            Telemetry(process_rss_bytes=attempt * 1000 * MIB, machine_total_bytes=16_000 * MIB),
        ])  # fmt: skip
        os.kill(record.pid, signal.SIGKILL)
        os.waitid(os.P_PID, record.pid, os.WEXITED | os.WNOWAIT)
        scheduler.tick()
    scheduler._thread.start()
    scheduler.stop()
    record = store.run(run_id)
    assert record
    assert record.state == "failed"
    return record.error or ""


def nan_after_quantization(bench: Bench) -> str:
    """A variant that answers with NaN fails, and is in no comparison."""
    key, real = plant_onnx(), exporting.exported

    def exported(*given: Any, **settings: Any) -> Steps[Any]:
        artifact = yield from real(*given, **settings)
        model = onnx.load(artifact.main_file)
        scale = next(each for each in model.graph.initializer if each.name == "logits_scale")
        scale.CopyFrom(numpy_helper.from_array(np.float32(np.nan), scale.name))
        onnx.save(model, artifact.main_file)
        return artifact

    bench.patch.setattr("experiments.run.exported", exported)
    recipe = Recipe.model_validate(
        {"model": key, "runtime": "onnxruntime", "techniques": ["int8"], "measurement": QUICK}
    )
    _, said = bench.carried_out(recipe)
    assert bench.store.variants(key, recipe.settings, limit=10) == []
    assert len(variants(bench.store.runs())) == 0
    return said


ROWS: dict[int, Row] = {
    39: Row(
        "nothing that can be quantized", nothing_to_quantize,
        ("0 of 0 layers quantized: none is left for INT8", "0 of 4 layers quantized: none is left for INT8"),
    ),
    42: Row(
        "pruning ratio 1.0 or 1.5", impossible_ratios,
        ("expected at most 0.9", "No weight is left in layer2.0.conv2: that part sees the image no more"),
    ),
    43: Row(
        "memory runs out", memory_runs_out,
        ("The GPU ran out of memory: the run held 12,345 MiB of 16,384 MiB at its peak. The run began once more",
         "on the second attempt too, which took half as many examples at once. Set the training batch of Unstructured "
         "pruning to 16 or less",
         "The machine ran out of memory: the run held", "Set the batch size under Measurement to 16 or less",
         "was killed, most often because the machine ran out of memory: the run held 2,000 MiB of 16,000 MiB"),
    ),
    44: Row(
        "NaN after quantization", nan_after_quantization,
        ("failed\nNon-finite: 64 of 64 images have answers that are not finite",),
    ),
}  # fmt: skip
