"""An engine that was built for a GPU elsewhere, on the page of its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.compatibility import Compatibility, OperatorSupport
from core.devices import find_device
from core.folders import run_folder
from experiments.ahead import AheadResult
from experiments.recipe import Recipe
from experiments.store import Store
from profiling.machine import conditions
from runtimes.tensorrt_ import TensorRtSettings
from runtimes.tensorrt_facts import EngineFacts
from ui.ahead_view import REFUSED, operator_table

RECIPE = Recipe(model="resnet_fmnist", runtime="tensorrt", engine=TensorRtSettings(build_for="SM89"))
TAKEN = (OperatorSupport(op="Conv", count=15), OperatorSupport(op="Relu", count=13))
SPARKLE = OperatorSupport(op="Sparkle", count=3, refused=("first", "second"), reason="it knows [no] such operator")
FACTS = EngineFacts(
    module="tensorrt_rtx", version="1.7.1.116", compute_capability=(8, 9), gpu="a GPU of the Ada generation",
    is_ahead=True, precision="fp32", batches=(1, 16, 256), effort=3, workspace_mib=0, skips_fours=False,
)  # fmt: skip


def page(run_id: str) -> None:
    from ui.outcome import draw_outcome
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_outcome(record)


@pytest.fixture
def drawn(store: Store) -> Callable[[AheadResult], AppTest]:
    def draw(result: AheadResult) -> AppTest:
        run_id = store.begin_here(RECIPE)
        artifact = run_folder(run_id) / "artifact"
        artifact.mkdir(parents=True)
        for name in (*result.artifact_files, "contract.json", "samples.npz"):
            Path(artifact, name).write_bytes(b"{}")
        store.finish(run_id, result)
        test = AppTest.from_function(page, kwargs={"run_id": run_id}).run(timeout=60)
        assert not test.exception
        return test

    return draw


def result(*operators: OperatorSupport) -> AheadResult:
    return AheadResult(
        precision="fp32",
        target="a GPU of the Ada generation",
        compatibility=Compatibility(parser="tensorrt_rtx 1.7.1.116", operators=operators),
        conditions=conditions(find_device("cpu"), threads=1, seed=0),
        graph_bytes=2 * 2**20,
    )


def with_engine() -> AheadResult:
    built = {
        "size_bytes": 3 * 2**20,
        "build_ms": 1234.0,
        "facts": FACTS,
        "artifact_files": ("model.engine", "engine.json"),
    }
    return result(*TAKEN).model_copy(update=built)


def words(test: AppTest) -> str:
    return "\n".join(str(each.value) for kind in ("markdown", "caption", "info", "error") for each in test.get(kind))


def test_an_engine_says_plainly_that_it_has_not_been_run(drawn: Callable[[AheadResult], AppTest]) -> None:
    test = drawn(with_engine())
    assert "It has not been run here: there is no accuracy, latency or memory." in test.info[0].value
    metrics = {each.label: (each.value, each.delta) for each in test.metric}
    assert metrics["Engine size"] == ("3.00 MiB", "1.50x its ONNX graph")
    assert metrics["Batches"] == ("1 to 256", "tuned for 16")
    assert metrics["Compute capability"][0] == "8.9"
    assert metrics["Built by"] == ("1.7.1.116", "TensorRT for RTX")
    assert [button.label for button in test.button] == ["Export the engine"]
    assert "takes all 28 nodes" in words(test)
    assert list(test.dataframe[0].value.columns) == ["operator", "nodes"]


def test_a_refusal_stands_first_and_can_be_seen_alone(drawn: Callable[[AheadResult], AppTest]) -> None:
    refused = result(SPARKLE, *TAKEN).model_copy(update={"why_no_engine": "TensorRT cannot read the operator Sparkle."})
    test = drawn(refused)
    assert "cannot read the operator Sparkle" in test.error[0].value
    assert not test.button
    assert not test.metric
    assert "refuses 2 of 31 nodes" in words(test)
    assert list(test.dataframe[0].value.operator) == ["Sparkle", "Conv", "Relu"]
    test.segmented_control[0].set_value(REFUSED).run()
    assert list(test.dataframe[0].value.operator) == ["Sparkle"]


def test_the_table_has_the_parsers_words() -> None:
    found = Compatibility(parser="a parser", operators=(SPARKLE, *TAKEN))
    row = operator_table(found).iloc[0]
    assert (row.nodes, row.refused, row.words, row.names) == (3, 2, SPARKLE.reason, ["first", "second"])
    assert len(operator_table(found, refused_only=True)) == 1
