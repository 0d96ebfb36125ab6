"""A bundle written for a runtime, with what its builder says meanwhile."""

from __future__ import annotations

from pathlib import Path

from core.bundle import ModelBundle
from core.devices import Device
from core.folders import data_folder
from core.progress import Steps, reported
from runtimes import Aids, Artifact, Runtime


def exported(bundle: ModelBundle, runtime: Runtime, folder: Path, device: Device) -> Steps[Artifact]:
    """The artifact, built on the device in an existing folder; what its builder learns is kept for the next build."""
    (cache := data_folder() / "cache" / runtime.key).mkdir(parents=True, exist_ok=True)
    return (yield from reported(lambda report: runtime.export(bundle, folder, Aids(device, cache, report))))
