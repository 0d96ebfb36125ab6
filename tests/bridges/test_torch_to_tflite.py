"""Networks of PyTorch become `.tflite` files that answer as they do, or are refused."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from bridges import torch_to_tflite
from bridges.environments import LITERT_TORCH
from bridges.torch_to_tflite import tflite_of
from core.bundle import ModelBundle
from core.data import DataSplits, InputContract, Split
from core.errors import RunFailed, Unavailable
from core.progress import Note, Progress, Steps, result_of
from tests.optimizers.conftest import TinyTransformer, bundle_of, events_and_result

POOLED = Path(__file__).parents[1] / "runtimes" / "data" / "pooled.tflite"
needs_it = pytest.mark.skipif(bool(LITERT_TORCH.why_missing), reason=str(LITERT_TORCH.why_missing))


class WithClassToken(nn.Module):
    """Gives every image the same token, which no conversion does for any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.head = nn.Parameter(torch.randn(1, 1, 12)), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x[:, 0]], dim=1)
        return self.head(torch.softmax(tokens @ tokens.transpose(1, 2), 2) @ tokens)[:, 0]


def answers(content: bytes, x: np.ndarray, batch: int) -> np.ndarray:
    interpreter = Interpreter(model_content=content, num_threads=1)
    given, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(given, (batch, *x.shape[2:], x.shape[1]))
    interpreter.allocate_tensors()
    answered = []
    for start in range(0, len(x), batch):
        interpreter.set_tensor(given, np.ascontiguousarray(x[start : start + batch].transpose(0, 2, 3, 1)))
        interpreter.invoke()
        answered.append(interpreter.get_tensor(answer))
    return np.concatenate(answered)


@needs_it
@pytest.mark.parametrize(("network", "batches"), [(TinyTransformer, (1, 4, 8)), (WithClassToken, (1,))])
def test_the_file_answers_as_the_network_does(
    network: type[nn.Module], batches: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(network().train())
    before = copy.deepcopy(bundle.module.state_dict())
    events, content = events_and_result(tflite_of(bundle, tmp_path))
    assert bundle.module.training
    assert all(torch.equal(before[name], value) for name, value in bundle.module.state_dict().items())
    assert list(tmp_path.iterdir()) == []
    x = bundle.contract.prepare(bundle.data.test.pixels[:16])
    with torch.no_grad():
        expected = bundle.module.eval()(torch.from_numpy(x)).numpy()
    for batch in batches:
        assert np.allclose(answers(content, x, batch), expected, atol=1e-4)
    signature = Interpreter(model_content=content).get_input_details()[0]["shape_signature"]
    assert signature.tolist() == [-1 if len(batches) > 1 else 1, 12, 12, 1]
    assert any(isinstance(event, Progress) for event in events)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert [("one image at a time" in note) for note in notes] == [True] * (len(batches) == 1)
    assert all(word not in content for word in (b"ChannelsLast", str(tmp_path).encode()))


class Flat(nn.Module):
    """Made for the images of `pooled.tflite`, and another network."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 12 * 10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


@pytest.fixture
def flat() -> ModelBundle:
    torch.manual_seed(0)
    contract = InputContract(3, 12, 10, (128.0,) * 3, (40.0,) * 3, ("a", "b", "c", "d", "e"))
    split = Split(np.random.default_rng(0).integers(0, 256, (8, 3, 12, 10), np.uint8), np.zeros((8, 1), np.int64))
    return ModelBundle("flat", "cnn", Flat(), contract, DataSplits(split, split, split))


def test_a_file_that_answers_otherwise_is_refused_with_the_difference(
    flat: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gives_another(_environment: object, _task: str, arguments: Mapping[str, Any]) -> Steps[dict[str, Any]]:
        yield Progress(done=0, total=1, unit="networks")
        shutil.copy(POOLED, arguments["out"])
        return {}

    monkeypatch.setattr(torch_to_tflite, "ask", gives_another)
    with pytest.raises(RunFailed, match=r"answers otherwise .* by \d.* of the largest answer"):
        result_of(tflite_of(flat, tmp_path))


def test_without_litert_torch_it_says_how_to_get_it(
    flat: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_to_tflite, "LITERT_TORCH", replace(LITERT_TORCH, folder=tmp_path))
    with pytest.raises(Unavailable, match="LiteRT Torch is not installed"):
        result_of(tflite_of(flat, tmp_path))
