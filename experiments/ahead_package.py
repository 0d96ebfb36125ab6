"""The zip of an engine that was built for a GPU which is not here: all it takes to run it there."""

from __future__ import annotations

import json
from pathlib import Path

from core.errors import Unavailable
from core.folders import run_folder
from experiments.ahead import AheadResult
from experiments.package import COMPANIONS, Entry, Package, companions_of, packed
from experiments.package_texts import Usage, heading
from experiments.recipe_file import to_yaml
from experiments.requirements import requirements_of
from experiments.run_record import RunRecord
from runtimes import Artifact, runtime_of

_README = """{heading}

Built for {target} by {builder}, and not run where it was built: there is no accuracy, latency or memory.

    python -m pip install -r requirements.txt
    python run.py                    classifies the images in samples.npz and counts those that are right
    python run.py photo.png ...      classifies your own

To measure it, open recipe.yaml on the Optimise page of a machine with such a GPU, choose the GPU as the device, and
build for the GPU there under the engine's settings.
"""


ABOUT = {"engine.json": "for which GPU and which version of TensorRT it was built"}
USAGE = Usage(
    "Run it",
    "python -m pip install -r requirements.txt\n"
    "python run.py              # checks itself on samples.npz\n"
    "python run.py photo.png    # classifies your own\n",
    "On a machine with a GPU of the generation it was built for: it has not been run here.",
)


def build_package_ahead(record: RunRecord, result: AheadResult, path: Path | None = None) -> Package:
    """Write the zip to `path` or into the run's folder. Raises `Unavailable` where no engine was built, or it is gone.

    Raises `BadInput` where the path cannot be written.
    """
    artifact = artifact_ahead(record, result)
    folder = f"{record.recipe.model}-{result.precision}-{record.id}"
    path = path or run_folder(record.id) / f"{folder}.zip"
    return packed(path, folder, _entries(record, result, artifact), (USAGE,))


def artifact_ahead(record: RunRecord, result: AheadResult) -> Artifact:
    """The engine with the files beside it. Raises `Unavailable` where there is none."""
    folder = run_folder(record.id) / "artifact"
    artifact = Artifact(record.recipe.runtime, result.precision, folder, result.artifact_files, record.recipe.engine)
    missing = [name for name in (*artifact.files, *COMPANIONS) if not (folder / name).exists()]
    if not artifact.files or missing:
        what = f"The run's files are gone: {', '.join(missing)}" if artifact.files else "No engine was built"
        raise Unavailable(what, action="Run its recipe again")
    return artifact


def _entries(record: RunRecord, result: AheadResult, artifact: Artifact) -> list[Entry]:
    program = runtime_of(artifact).sample_code(artifact)
    pins = "".join(f"{line}\n" for line in requirements_of(program, result.conditions))
    builder = f"{result.facts.module} {result.facts.version}" if result.facts else result.compatibility.parser
    readme = _README.format(heading=heading(record.recipe), target=result.target, builder=builder)
    plain = json.dumps(result.model_dump(mode="json", context={"plain": True}), indent=1)
    return [
        *(Entry(name, ABOUT.get(name, "the engine"), artifact.folder / name, packs=False) for name in artifact.files),
        *(Entry(name, about, artifact.folder / name) for name, about in companions_of(artifact).items()),
        Entry("run.py", "classifies images", program),
        Entry("requirements.txt", "what run.py needs", pins),
        Entry("recipe.yaml", "how it was made", to_yaml(record.recipe)),
        Entry("result.json", "what the parser and the builder said", plain),
        Entry("README.txt", "how to use all this", readme),
    ]
