"""How a package is used, as text: the commands that the Export page shows, and the README that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from experiments import models
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.triton import Repository
from runtimes import RUNTIMES

REPOSITORY = "model_repository"


@dataclass(frozen=True)
class Usage:
    """One way to use the package: what to type in its folder, on any system unless the note says otherwise."""

    title: str
    commands: str
    note: str = ""


def usages(
    recipe: Recipe, result: RunResult, *, server: bool, triton: Repository | None, of_texts: bool = False
) -> tuple[Usage, ...]:
    """The ways to use a package, the simplest first; `of_texts` tells those of a model of texts."""
    found = [_running(recipe, result, of_texts)]
    if server:
        found += [_serving(of_texts), _container(recipe, result)]
    if triton:
        found.append(_triton(triton, result))
    return tuple(found)


def unpacking(zip_name: str, folder: str) -> str:
    """Commands from the zip to its folder."""
    return f"python -m zipfile -e {zip_name} .\ncd {folder}\n"


def _running(recipe: Recipe, result: RunResult, of_texts: bool) -> Usage:
    found = result.conditions
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    note = f"Measured with Python {found.python} and {threads}; OMP_NUM_THREADS sets how many it takes."
    if recipe.runtime == "torch_compile":
        note += f" It compiles at its first {'texts' if of_texts else 'images'}, for which it needs a C++ compiler."
    if recipe.runtime == "aotinductor":
        note += " It runs on processors like the one it was compiled for."
    own = '"a text" ' if of_texts else "photo.png"
    return Usage(
        "Run it",
        "python -m pip install -r requirements.txt\n"
        "python run.py              # checks itself on samples.npz\n"
        f"python run.py {own}    # classifies your own\n",
        note,
    )


def _serving(of_texts: bool) -> Usage:
    json = """-H "Content-Type: application/json" -d '{"texts": ["a text"]}'"""
    given = json if of_texts else "-F files=@photo.png"
    return Usage(
        "HTTP server",
        "python -m pip install -r requirements-server.txt\n"
        "python serve.py    # for this machine only\n"
        f"curl {given} http://127.0.0.1:8000/classify\n",
        "It has neither login nor encryption: put it behind something that has before others can reach it.",
    )


def _container(recipe: Recipe, result: RunResult) -> Usage:
    tag, gpus = container_tag(recipe), gpus_option(result)
    return Usage(
        "Container",
        f"docker build --tag {tag} .\ndocker run --rm --publish 127.0.0.1:8000:8000 {gpus}{tag}\n",
        "The Dockerfile was written here and has not been built here.",
    )


def container_tag(recipe: Recipe) -> str:
    """What the image is called in the commands."""
    return recipe.model.replace("_", "-")


def gpus_option(result: RunResult) -> str:
    """Docker's option for an artifact that was measured on a GPU, with a space behind it; else empty."""
    return "" if result.conditions.device == "cpu" else "--gpus all "


def _triton(repository: Repository, result: RunResult) -> Usage:
    mounts, start = f'-v "${{PWD}}/{REPOSITORY}:/models"', "tritonserver --model-repository=/models"
    if repository.backend == "python":
        mounts += ' -v "${PWD}/requirements.txt:/requirements.txt"'
        start = f'bash -c "python3 -m pip install -r /requirements.txt && {start}"'
    image = "nvcr.io/nvidia/tritonserver:<xx.yy>-py3"
    return Usage(
        "Triton Inference Server",
        f"docker run --rm -p 8000:8000 {gpus_option(result)}{mounts} {image} {start}\n",
        f"For Linux, macOS and PowerShell. <xx.yy> is a release of Triton{_release(repository, result)}. "
        "The repository follows Triton's documented format and has not been loaded by a Triton server here.",
    )


def _release(repository: Repository, result: RunResult) -> str:
    """Which release, where the backend has to know what another version of its library wrote."""
    if repository.backend == "python":
        return ""
    engine, found = RUNTIMES[repository.backend].title, result.conditions.libraries
    if repository.backend == "tensorrt":
        return f" with the very {engine} that built the engine, {found['tensorrt']}"
    return f" with {engine} {found[repository.backend]} or newer" if repository.backend in found else ""


def readme(recipe: Recipe, result: RunResult, ways: Iterable[Usage], files: Iterable[tuple[str, str]]) -> str:
    """`README.txt`: what it is, what to type, what was measured, and what each of the files (name, about) is."""
    parts = [heading(recipe), *(_section(each) for each in ways), _measured(result)]
    parts.append("\n".join(f"{name}\n    {about}" for name, about in files))
    return "\n\n".join(parts) + "\n"


def heading(recipe: Recipe) -> str:
    """The variant, and below it the model with its data as far as they are still known here."""
    data = f", with the data {models.find(recipe.model).data_title}" if models.is_here(recipe.model) else ""
    return f"{recipe.title}\nThe model is {models.title_of(recipe.model)}{data}."


def _section(usage: Usage) -> str:
    commands = "\n".join(f"    {line}" for line in usage.commands.splitlines())
    return f"{usage.title}\n\n{commands}" + (f"\n\n{usage.note}" if usage.note else "")


def _measured(result: RunResult) -> str:
    accuracy, latency, found = result.accuracy, result.latency, result.conditions
    return (
        f"Measured on this very file, {found.date:%Y-%m-%d}, on {found.device_name}: "
        f"{accuracy.judging.counted(accuracy.correct, accuracy.total)}; median {_time(latency.p50_ms)} for a batch of "
        f"{latency.batch_size}{_doubt(result)}. "
        "result.json has everything with its conditions."
    )


def _doubt(result: RunResult) -> str:
    """What disturbed the timing, in brackets; empty where nothing did."""
    reasons = "; ".join(result.disturbances)
    return f" (the timing was disturbed: {reasons[0].lower()}{reasons[1:]})" if reasons else ""


def _time(value_ms: float) -> str:
    """`0.523 ms`, and below a tenth of a millisecond `7.16 µs`."""
    return f"{1000 * value_ms:.3g} µs" if value_ms < 0.1 else f"{value_ms:.3g} ms"
