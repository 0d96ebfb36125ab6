"""Every variant of a model in every runtime: is it still the same model there, and is it faster?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from core.errors import BadInput, CannotCompose, StudioError
from core.unsupported import operator_in
from experiments.ahead import AheadResult
from experiments.checking import check
from experiments.models import baseline_runtime, is_here, untouched_title
from experiments.recipe import MeasurementSettings, Recipe
from experiments.references import baseline_of, in_runtime, with_references
from experiments.result import Summary
from experiments.run_record import RunRecord
from experiments.store import Store
from profiling.fidelity import Fidelity
from runtimes import RUNTIMES

State = Literal[
    "same", "within", "differs", "trained since", "not compared", "built ahead", "running", "queued", "failed",
    "does not fit", "not here", "not run",
]  # fmt: skip
"""same: every image compared gets the class that the source gives it. within: some do not, by no more than the
precision explains. trained since: it is another network on purpose. not compared: measured before runs were compared
with their source."""
COMPARED: tuple[State, ...] = ("same", "within", "differs")
ALIKE: tuple[State, ...] = ("same", "within")
MOST_RUNS = 500
"""The newest ones of a model that are looked through."""
_NAMED = re.compile(
    r"(?:does not support|cannot read) the operator (?P<op>[\w.:]+(?: on \w+)?)(?: \((?:in|node) (?P<node>[^)]*)\))?"
)


@dataclass(frozen=True)
class Sources:
    """Where the cells get what a run's record does not hold, by run id."""

    fidelity: Callable[[str], Fidelity | None]
    ahead: Callable[[str], AheadResult | None]


@dataclass(frozen=True)
class Cell:
    """One variant in one runtime, as far as it was run there."""

    variant: str
    """What was done, without the runtime."""
    recipe: Recipe
    """Of its run or, where there is none, what to run: with the engine as usual and without a name."""
    state: State
    record: RunRecord | None = None
    """The run that tells: the newest finished one, else one at work, built ahead or failed."""
    fidelity: Fidelity | None = None
    why: str = ""
    """One sentence where there is nothing to measure."""
    operator: str = ""
    """What the engine has no answer to, where it named it."""

    @property
    def runtime(self) -> str:
        """Key of the runtime."""
        return self.recipe.runtime

    @property
    def place(self) -> str:
        """`INT8 in OpenVINO`."""
        return f"{self.variant} in {RUNTIMES[self.runtime].title}"

    @property
    def summary(self) -> Summary | None:
        """What was measured; None where nothing was."""
        return self.record.summary if self.record else None


@dataclass(frozen=True)
class Row:
    """A variant in every runtime there is, in their usual order."""

    key: str
    """16 hex digits that only this chain of techniques with this seed has."""
    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """The variants of one model, measured in one way, the untouched model first."""

    rows: tuple[Row, ...]

    @property
    def cells(self) -> list[Cell]:
        """All of them, row by row."""
        return [cell for row in self.rows for cell in row.cells]

    def cell(self, key: str, runtime: str) -> Cell:
        """The one of that row and runtime."""
        row = next(row for row in self.rows if row.key == key)
        return next(cell for cell in row.cells if cell.runtime == runtime)

    def reference(self, cell: Cell) -> Cell | None:
        """What its speed is set beside: the same variant in eager PyTorch or, where there is none, the untouched model.

        Of a model that is an ONNX file both are those in ONNX Runtime, of one of Keras or a `.tflite` file in LiteRT.
        None where neither was measured, and for the one that is itself the reference.
        """
        of_row = next(row for row in self.rows if any(each is cell for each in row.cells))
        runtime = baseline_runtime(cell.recipe.model)
        eager = (each for row in (of_row, self.rows[0]) for each in row.cells if each.runtime == runtime)
        found = next((each for each in eager if each.summary), None)
        return None if found is cell else found


@dataclass(frozen=True)
class Variant:
    """One chain of techniques with its runs, whatever the runtime."""

    title: str
    recipe: Recipe
    """Of its newest run or, for the untouched model where that never ran, what would be run."""
    runs: tuple[RunRecord, ...]
    """The newest first."""


def subjects(store: Store) -> list[tuple[str, str]]:
    """Model and `Recipe.settings` of what may be in a matrix, those with the newest measured run first."""
    others = [(record.recipe.model, record.recipe.settings) for record in store.runs(limit=MOST_RUNS) if _fits(record)]
    return list(dict.fromkeys([*store.measured(), *others]))


def variants_of(store: Store, model: str, settings: str) -> dict[str, Variant]:
    """What ran, or should, of a model under these settings, by `Row.key`: the untouched model, then the oldest first.

    Raises `BadInput` where nothing did.
    """
    known = [*store.variants(model, settings, limit=MOST_RUNS), *store.runs(model=model, limit=MOST_RUNS)]
    fitting = {record.id: record for record in known if record.recipe.settings == settings and _fits(record)}
    if not fitting:
        raise BadInput(f"No run of {model} under {settings}", expected="a model and settings that were run")
    runs = sorted(fitting.values(), key=lambda record: record.created_at)
    untouched = baseline_of(runs[-1].recipe)
    by_key: dict[str, list[RunRecord]] = {chain_of(untouched).digest: []}
    for record in runs:
        by_key.setdefault(chain_of(record.recipe).digest, []).insert(0, record)
    recipes = {key: found[0].recipe if found else untouched for key, found in by_key.items()}
    titles = _titles(recipes)
    return {key: Variant(titles[key], recipes[key], tuple(found)) for key, found in by_key.items()}


def matrix(variants: Mapping[str, Variant], sources: Sources, *, keys: Iterable[str] | None = None) -> Matrix:
    """The untouched model and those of the variants with these keys, or all of them, in every runtime."""
    wanted = set(variants if keys is None else keys) | {next(iter(variants))}
    return Matrix(tuple(_row(key, each, sources) for key, each in variants.items() if key in wanted))


def chain_of(recipe: Recipe) -> Recipe:
    """What makes the network: model, techniques and seed, whatever the runtime and however long it is measured."""
    alike = {"measurement": MeasurementSettings(), "device": "cpu"}
    unseeded = {} if recipe.techniques else {"seed": 0}
    return in_runtime(recipe, "pytorch").model_copy(update=alike | unseeded)


def missing(found: Matrix) -> list[Recipe]:
    """What has to run for every cell that can be measured to be so: recipes with their references, each once."""
    finished = {cell.recipe.digest for cell in found.cells if cell.summary}
    wanted = [each for cell in found.cells if cell.state == "not run" for each in with_references(cell.recipe)]
    return list({each.digest: each for each in wanted if each.digest not in finished}.values())


def _fits(record: RunRecord) -> bool:
    return record.makes_variant and not record.recipe.is_simulated and record.recipe.runtime in RUNTIMES


def _titles(recipes: Mapping[str, Recipe]) -> dict[str, str]:
    """What each chain is called, by its key; those of equal title are told apart by the start of their key."""
    found = {key: _title(recipe) for key, recipe in recipes.items()}
    named = list(found.values())
    return {key: f"{title} #{key[:4]}" if named.count(title) > 1 else title for key, title in found.items()}


def _title(recipe: Recipe) -> str:
    done = " + ".join(recipe.labels)
    return f"{done}, seed {recipe.seed}" if done and recipe.seed else done or untouched_title(recipe.model)


def _row(key: str, variant: Variant, sources: Sources) -> Row:
    there = {runtime: [each for each in variant.runs if each.recipe.runtime == runtime] for runtime in RUNTIMES}
    cells = (_cell(variant.title, in_runtime(variant.recipe, at), runs, sources) for at, runs in there.items())
    return Row(key, variant.title, tuple(cells))


def _cell(title: str, usual: Recipe, records: Sequence[RunRecord], sources: Sources) -> Cell:
    """What is known of the variant in the runtime of `usual`, from its runs there, the newest first."""
    ordered = sorted(records, key=lambda record: bool(record.recipe.engine.label()))
    for kind in (_measured, _at_work, _built_ahead, _failed):
        for record in ordered:
            if cell := kind(title, record, sources):
                return cell
    return _not_run(title, usual)


def _measured(title: str, record: RunRecord, sources: Sources) -> Cell | None:
    if record.summary is None:
        return None
    fidelity = sources.fidelity(record.id)
    return Cell(title, record.recipe, _judged(fidelity, record.summary), record, fidelity)


def _judged(fidelity: Fidelity | None, summary: Summary) -> State:
    if fidelity is None:
        return "not compared"
    if fidelity.retrained and not fidelity.differs:
        return "trained since"
    if fidelity.differs:
        return "differs"
    return "same" if fidelity.agreeing == fidelity.images else "within"


def _at_work(title: str, record: RunRecord, _: Sources) -> Cell | None:
    if not record.is_live:
        return None
    return Cell(title, record.recipe, "running" if record.state == "running" else "queued", record)


def _built_ahead(title: str, record: RunRecord, sources: Sources) -> Cell | None:
    if record.ahead is None:
        return None
    make = partial(Cell, title, record.recipe, record=record)
    if record.ahead.artifact_files:
        return make("built ahead", why=f"Built for {record.ahead.target}, not run here.")
    result = sources.ahead(record.id)
    operators = [each.op for each in result.compatibility.operators if each.refused] if result else []
    why = result.why_no_engine if result else "No engine was built."
    return make("does not fit" if operators else "failed", why=why, operator=", ".join(operators))


def _failed(title: str, record: RunRecord, _: Sources) -> Cell | None:
    """Only with the engine as usual: that another setting failed does not say that the runtime cannot."""
    if record.state != "failed" or record.recipe.engine.label():
        return None
    why = record.error or "It failed without a word."
    return Cell(title, record.recipe, "failed", record, why=why, operator=_operator(why, record.details or ""))


def _operator(*messages: str) -> str:
    for message in messages:
        if found := _NAMED.search(message):
            return found["op"] + (f" (in {found['node']})" if found["node"] else "")
        if operator := operator_in(message):
            return operator
    return ""


def _not_run(title: str, recipe: Recipe) -> Cell:
    if not is_here(recipe.model):
        return Cell(title, recipe, "not here", why="This model is not here any more.")
    try:
        check(recipe)
    except CannotCompose as reason:
        return Cell(title, recipe, "does not fit", why=str(reason), operator=_operator(str(reason)))
    except StudioError as reason:
        return Cell(title, recipe, "not here", why=str(reason))
    return Cell(title, recipe, "not run")
