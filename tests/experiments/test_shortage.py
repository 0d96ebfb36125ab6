"""Which memory an error tells of, and what would take less; `tests/test_bad_inputs.py` lets runs go through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.devices import Device, find_device
from core.errors import RunFailed
from experiments import shortage
from experiments.recipe import Recipe
from experiments.shortage import Shortage, can_take_less, shortage_of, what_takes_less, with_less_at_once
from profiling import high_water
from profiling.high_water import HighWater

CPU, GPU = find_device("cpu"), Device("cuda:0", "cuda", "a GPU", 2**34)
PRUNING = "Unstructured pruning"


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""


def too_large_an_array() -> Exception:
    with pytest.raises(MemoryError) as error:
        np.empty(2**55)
    return error.value


@pytest.mark.parametrize(
    ("error", "device", "memory"),
    [
        (OutOfMemoryError("CUDA out of memory"), GPU, "GPU"),
        (RuntimeError("Failed to allocate memory for requested buffer"), GPU, "GPU"),
        (RuntimeError("Failed to allocate memory for requested buffer"), CPU, "machine"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), GPU, "machine"),
        (RuntimeError("std::bad_alloc"), GPU, "machine"),
        (MemoryError(), GPU, "machine"),
        (
            RunFailed("The process of TensorFlow was killed, most often because the machine ran out of memory"),
            GPU,
            "machine",
        ),
        (
            RunFailed("It ran out of memory (ResourceExhaustedError: OOM when allocating on /device:CPU:0)"),
            GPU,
            "machine",
        ),
        (RunFailed("It ran out of memory (ResourceExhaustedError: OOM when allocating on /device:GPU:0)"), GPU, "GPU"),
        (too_large_an_array(), GPU, "machine"),
        (KeyError("x"), GPU, None),
    ],
)
def test_which_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception, device: Device, memory: str | None
) -> None:
    monkeypatch.setattr(high_water, "of_gpu", lambda device: HighWater(None, device.memory_bytes))
    found = shortage_of(error, device)
    assert (found.memory if found else None) == memory


def test_the_peak_of_this_process_is_told_in_mib() -> None:
    held = np.ones(2**23)  # 64 MiB, all of it touched
    found = shortage_of(MemoryError(), CPU)
    assert found
    assert found.peak_bytes
    assert found.total_bytes
    assert held.nbytes < found.peak_bytes < found.total_bytes
    assert f"held {found.peak_bytes / 2**20:,.0f} MiB of {found.total_bytes / 2**20:,.0f} MiB" in found.sentence
    assert "not known" in Shortage("GPU", None, None).sentence


def test_what_another_process_held_counts_once_it_ended() -> None:
    code = "held = bytearray(b'x') * 2**29; print(len(held))"
    before = high_water.of_machine().peak_bytes
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = high_water.of_machine().peak_bytes
    assert before
    assert after
    assert after >= max(before, 2**29)


def test_a_training_in_tensorflow_is_told_the_batch_to_set() -> None:
    asked = Recipe.model_validate({"model": "keras_cnn_fmnist", "techniques": [{"keras_qat": {"batch_size": 64}}]})
    title = asked.techniques[0].title
    assert not can_take_less(asked, title)
    killed = RunFailed("The process of TensorFlow was killed, most often because the machine ran out of memory")
    found = shortage_of(killed, CPU)
    assert found
    told = str(found.failure(asked, title, again=False))
    assert told.startswith("The process was killed, most often because the machine ran out of memory: the run held")
    assert "Set the training batch of Quantization-aware training (TensorFlow) to 32 or less" in told


def recipe_of(**settings: object) -> Recipe:
    training = {"epochs": 1, "batch_size": 64, **settings}
    techniques = [{"magnitude_pruning": training}, "int8"]
    return Recipe.model_validate(
        {"model": "resnet_fmnist", "techniques": techniques, "measurement": {"batch_size": 32}}
    )


def test_a_training_takes_half_as_many_at_once_and_twice_as_often() -> None:
    first, second = with_less_at_once(recipe_of(accumulate=3)).techniques
    assert (first.batch_size, first.accumulate) == (32, 6)  # type: ignore[attr-defined]
    assert second == recipe_of().techniques[1]
    assert can_take_less(recipe_of(), PRUNING)
    assert not can_take_less(recipe_of(batch_size=1), PRUNING)
    assert not can_take_less(recipe_of(accumulate=16), PRUNING)
    assert not can_take_less(recipe_of(), "INT8 quantization")
    assert not can_take_less(recipe_of(), "Latency")


def test_what_is_offered_belongs_to_the_phase() -> None:
    assert "the training batch of Unstructured pruning to 32 or less" in what_takes_less(recipe_of(), PRUNING)
    assert "batch size under Measurement to 16 or less" in what_takes_less(recipe_of(), "Latency")
    assert "smaller model" in what_takes_less(recipe_of(batch_size=1), PRUNING)


def test_a_later_process_of_the_run_knows(tmp_path: Path) -> None:
    assert shortage.noted(tmp_path) == ""
    text = shortage.begins_anew(Shortage("machine", 2**30, 2**34), tmp_path)
    assert shortage.noted(tmp_path) == text
    assert "1,024 MiB of 16,384 MiB" in text
