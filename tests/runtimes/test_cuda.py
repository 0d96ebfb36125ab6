"""What sessions say on a CPU; the stages and graphs themselves are in tests/gpu."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import ModelBundle
from core.devices import Device
from core.errors import Unavailable
from runtimes import RUNTIMES


def test_on_a_cpu_there_are_no_stages_and_no_graphs(bundle: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    """What is compiled has the same kind of session."""
    runtime = RUNTIMES["pytorch"]
    x = bundle.contract.prepare(bundle.data.test.pixels)
    with runtime.open(runtime.export(bundle, tmp_path), cpu, threads=1) as session:
        assert session.stages(x) is None
        with pytest.raises(Unavailable, match=r"A CPU has no CUDA graphs; expected an NVIDIA GPU\. Measure without"):
            session.bind_graph(x)
        assert session.run(x).shape == (7, 10)
