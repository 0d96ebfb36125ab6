"""The command line behind `studio.py`: the same runs, store and comparison as the dashboard."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pandas as pd

import cli_bring
from core.errors import BadInput, Refused, StudioError
from core.folders import data_folder
from core.progress import Event, Failed, Finished, Note, PhaseStarted, Progress
from experiments.ahead import describe_ahead
from experiments.ahead_package import build_package_ahead
from experiments.checking import check
from experiments.compare import against_baseline, describe, describe_simulations, simulations, variants
from experiments.cost import Currency, Price
from experiments.package import Options, artifact_of, build_package
from experiments.package_texts import unpacking
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.recording import ENDING, shipped, write
from experiments.references import with_references
from experiments.report import Wishes, compose
from experiments.resuming import can_resume
from experiments.run_record import RunRecord
from experiments.scheduler import bury_if_dead
from experiments.store import Store, open_store
from experiments.truth import Sources, matrix, variants_of
from experiments.worker import execute
from intake.library import own_models
from profiling.fidelity import Fidelity
from sample_models import MODELS, card

BAR_WIDTH = 30


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say: 0 worked, 1 a run failed, 2 the input was wrong, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="studio.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    optimize_parser = commands.add_parser("optimize", help="carry out a recipe and print the comparison")
    optimize_parser.add_argument("recipe", type=Path, help="a recipe.yaml, as saved by the Optimise page")
    optimize_parser.add_argument("--again", action="store_true", help="measure baseline and reference again")
    resume_parser = commands.add_parser("resume", help="go on with a run that ended before its result")
    resume_parser.add_argument("run", help="id of the run, as `runs` lists it")
    _add_report_options(
        commands.add_parser("report", help="write the comparison of a model's variants as one HTML file")
    )
    _add_package_options(commands.add_parser("package", help="write a finished run as one zip that runs elsewhere"))
    _add_truth_options(commands.add_parser("truth", help="print every variant in every runtime, beside its source"))
    record_parser = commands.add_parser("record", help="keep a run that has ended as one file, to be watched elsewhere")
    record_parser.add_argument("run", help="id of the run, as `runs` lists it")
    record_parser.add_argument("file", type=Path, help=f"the file to write, such as run{ENDING}")
    commands.add_parser("recordings", help="list the recordings that come with the project")
    cli_bring.add_options(commands.add_parser("bring", help="add models and data of your own"))
    commands.add_parser("models", help="list the models: those of the studio, and those that were added")
    commands.add_parser("runs", help="list the runs so far")
    options = parser.parse_args(arguments)
    try:
        if options.command == "optimize":
            return optimize(_read(options.recipe), again=options.again)
        if options.command == "resume":
            return resume(options.run)
        if options.command == "report":
            return report(options)
        if options.command == "package":
            return package(options)
        if options.command == "truth":
            return truth(options)
        if options.command == "record":
            return record(options.run, options.file)
        if options.command == "bring":
            with _Printer() as printer:
                return cli_bring.bring_all(options, printer)
        if options.command == "recordings":
            return list_recordings()
        return list_models() if options.command == "models" else list_runs()
    except StudioError as error:
        print(error, file=sys.stderr)
        if isinstance(error, Refused) and error.snippet:
            print(f"\nRun this where the file was made:\n\n{error.snippet}", file=sys.stderr)
        return 2


def optimize(recipe: Recipe, *, again: bool = False) -> int:
    """Carry out the recipe and whatever it is compared with; print the comparison."""
    check(recipe)
    return _compare(open_store(), recipe, again=again)


def resume(run_id: str) -> int:
    """Go on with a failed or cancelled run where its last training was; print the comparison."""
    store = open_store()
    bury_if_dead(store, run_id)
    store.resume_here(run_id)
    record = _carry_out(store, run_id)
    return _compare(store, record.recipe, resumed=record) if record.state == "finished" else _explain(record)


def _compare(store: Store, recipe: Recipe, *, again: bool = False, resumed: RunRecord | None = None) -> int:
    """Carry out what has not been yet, or all of it `again`, and print how the recipe compares.

    Where what it is compared with fails after the recipe has finished, that is said below the comparison of the rest.
    """
    records: list[RunRecord] = []
    failed = None
    for each in with_references(recipe):
        known = resumed if each is recipe else None if again else store.finished_before(each)
        record = known or _carry_out(store, store.begin_here(each))
        if record.state != "finished":
            failed = record
            break
        records.append(record)
    made = next((record for record in records if record.recipe.digest == recipe.digest), None)
    if made:
        code = _tell(store, made, records)
        return _explain(failed, is_lacking=True) if failed else code
    assert failed, "a recipe that has not finished has failed, or what comes before it"
    return _explain(failed)


def _tell(store: Store, made: RunRecord, records: list[RunRecord]) -> int:
    """Print how what was made compares with the other records, the baseline first, and where it lies."""
    if made.recipe.engine.builds_ahead:
        return _tell_ahead(store, made)
    print("\n" + describe(against_baseline(variants(records), store.results([record.id for record in records]))))
    if made.recipe.is_simulated:
        print("\n" + describe_simulations(_simulations(store, records)))
    else:
        print(f"\nArtifact: {data_folder() / 'runs' / made.id / 'artifact'}")
    return 0


def _tell_ahead(store: Store, record: RunRecord) -> int:
    """Print what the parser says of every operator and, where there is an engine, where it lies."""
    result = store.ahead_result(record.id)
    assert result, "a finished build has a result"
    print("\n" + describe_ahead(result))
    if result.artifact_files:
        print(f"\nEngine: {data_folder() / 'runs' / record.id / 'artifact' / result.artifact_files[0]}")
    return 0 if result.artifact_files else 1


def _explain(record: RunRecord, *, is_lacking: bool = False) -> int:
    """Say why there is no result, that a comparison above `is_lacking` it, and how it may go on."""
    if is_lacking:
        print("\nThe comparison lacks a run that did not finish.", file=sys.stderr)
    print(f"{record.recipe.title}: {record.error or record.state}", file=sys.stderr)
    if can_resume(record):
        print(f"What it trained so far is kept: python3 studio.py resume {record.id}", file=sys.stderr)
    return 130 if record.state == "cancelled" else 1


def _simulations(store: Store, records: list[RunRecord]) -> pd.DataFrame:
    """The simulated runs among the records, against the baseline that is their first."""
    base = store.result(records[0].id)
    results = store.simulated_results([record.id for record in records])
    return simulations(records, results, base.accuracy if base else None)


def _carry_out(store: Store, run_id: str) -> RunRecord:
    """Do the work of a run that is marked as running by this process; what became of it."""
    record = store.run(run_id)
    assert record
    print(f"\n{record.recipe.title}")
    try:
        execute(store, record, _Printer())
    except KeyboardInterrupt:
        store.cancel(run_id)
    ended = store.run(run_id)
    assert ended
    return ended


class _Printer:
    """Draws a run's events as one line a phase, with a bar where the phase says how far it is."""

    def __init__(self) -> None:
        self._title = ""

    def __enter__(self) -> _Printer:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._end_line()
            self._title = event.title
            self._draw(event.title)
        elif isinstance(event, Progress) and sys.stdout.isatty():
            filled = round(BAR_WIDTH * min(1.0, event.done / event.total)) if event.total else 0
            bar = "█" * filled + "·" * (BAR_WIDTH - filled)
            self._draw(f"\r  {self._title:<28} {bar} {event.done:.0f}/{event.total:.0f} {event.unit}", raw=True)
        elif isinstance(event, Note):
            self._end_line()
            print(f"  {'! ' if event.warning else ''}{event.text}")
        elif isinstance(event, Finished | Failed):
            self._end_line()

    def _draw(self, text: str, *, raw: bool = False) -> None:
        print(text if raw else f"  {text}", end="", flush=True)

    def _end_line(self) -> None:
        if self._title:
            print(flush=True)
        self._title = ""


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="key of the model, as `models` lists it")
    parser.add_argument("out", type=Path, help="the file to write, such as report.html")
    parser.add_argument(
        "--settings", help="device, batch size and threads, such as cpu,1,0 (default: of the newest run)"
    )
    parser.add_argument("--most", type=int, default=9, help="how many variants, the newest ones (default: 9)")
    parser.add_argument("--title", default="", help="what the report is called")
    parser.add_argument(
        "--recommend", default="", metavar="RUN", help="id of the run to recommend (default: by statistics)"
    )
    parser.add_argument("--price", type=float, help="what an hour of the machine, or a kilowatt-hour, costs")
    parser.add_argument("--per", choices=("hour", "kwh"), default="hour", help="what the price is for (default: hour)")
    parser.add_argument("--currency", choices=get_args(Currency), default="USD", help="of the price (default: USD)")
    parser.add_argument("--watts", type=float, help="power under load, for variants whose energy was not measured")


def report(options: argparse.Namespace) -> int:
    """Write what the Report tab of the Compare page offers."""
    from ui.report import html_of
    from ui.tables import with_unique_titles

    store = open_store()
    records = store.variants(options.model, _settings(store, options), limit=options.most)
    results = store.results([record.id for record in records])
    frame = with_unique_titles(against_baseline(variants(records), results))
    price = None if options.price is None else Price(options.price, options.per, options.currency, options.watts)
    wishes = Wishes(title=options.title, recommended=options.recommend, price=price)
    composed = compose(frame, records, results, wishes, at=datetime.now(UTC))
    try:
        options.out.write_bytes(html_of(composed).encode())
    except OSError as error:
        raise BadInput(
            f"{options.out} cannot be written ({error})", expected="a file in a folder that exists"
        ) from None
    print(f"{composed.headline}\n\nReport: {options.out.resolve()}")
    return 0


def _settings(store: Store, options: argparse.Namespace) -> str:
    """Under which settings the variants were measured: those asked for, or those of the newest run."""
    measured = [settings for model, settings in store.measured() if model == options.model]
    if not measured:
        raise BadInput(
            f"No run of {options.model} has finished",
            expected="a model with finished runs",
            action="List them with: python3 studio.py runs",
        )
    wanted = options.settings.replace(",", "|") if options.settings else measured[0]
    if wanted not in measured:
        offered = " or ".join(each.replace("|", ",") for each in measured)
        raise BadInput(f"Nothing was measured with {options.settings}", expected=offered)
    return str(wanted)


def _add_package_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="id of the run, as `runs` lists it")
    parser.add_argument("out", type=Path, help="the file to write, such as model.zip")
    parser.add_argument("--server", action="store_true", help="with an HTTP server and a Dockerfile")
    parser.add_argument("--triton", action="store_true", help="with a model repository for NVIDIA Triton")


def package(options: argparse.Namespace) -> int:
    """Write what the Export page offers, and print how to use it."""
    store = open_store()
    record, result = store.run(options.run), store.result(options.run)
    if record is None:
        raise BadInput(f"There is no run {options.run}", action="List them with: python3 studio.py runs")
    if record.simulated:
        raise BadInput(
            f"The run {record.id} simulates a number format",
            expected="a run that left a file to ship",
            action="Choose another one",
        )
    if ahead := store.ahead_result(record.id):
        if options.server or options.triton:
            raise BadInput(
                "A server or a Triton repository for an engine that has not been run",
                expected="a run that was measured, which says what batches it takes",
                action="Leave these options out",
            )
        made = build_package_ahead(record, ahead, options.out)
    else:
        artifact_of(record)
        assert result, "a run with a summary has a result"
        made = build_package(record, result, Options(options.server, options.triton), options.out)
    print(f"Package: {made.path.resolve()}\nSHA-256: {made.sha256}\n\n{unpacking(made.path.name, made.folder)}")
    for usage in made.usages:
        print(f"{usage.title}\n\n{usage.commands}" + (f"\n{usage.note}\n" if usage.note else ""))
    return 0


def _add_truth_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="key of the model, as `models` lists it")
    parser.add_argument(
        "--settings", help="device, batch size and threads, such as cpu,1,0 (default: of the newest run)"
    )
    parser.add_argument("--show", default="agreement", help="agreement, accuracy, latency, size, build or cold_start")


def truth(options: argparse.Namespace) -> int:
    """Print the matrix of the Truth page."""
    from ui.truth_texts import ASPECTS, as_text, aspects, judging_in

    if options.show not in ASPECTS:
        raise BadInput(f"--show is {options.show}", expected=" or ".join(ASPECTS))
    store = open_store()

    def fidelity(run_id: str) -> Fidelity | None:
        result = store.result(run_id)
        return result.fidelity if result else None

    found = variants_of(store, options.model, _settings(store, options))
    shown = matrix(found, Sources(fidelity, store.ahead_result))
    print(as_text(shown, aspects(judging_in(shown))[options.show]))
    return 0


def record(run_id: str, path: Path) -> int:
    """Write what the page of a run offers as its recording."""
    if not path.name.endswith(ENDING):
        raise BadInput(f"The file is called {path.name}", expected=f"a name that ends with {ENDING}")
    written = write(open_store(), run_id, path)
    print(
        f"{written.stamp}: {len(written.events):,} events, {path.stat().st_size:,} bytes\n\nRecording: {path.resolve()}"
    )
    return 0


def list_recordings() -> int:
    """One line a recording that comes with the project, those of a GPU first."""
    for name, recording in shipped().items():
        print(f"{name:<32} {recording.record.title:<44} {recording.stamp}")
    return 0


def list_models() -> int:
    """One line a model: the bundled ones from their cards, then those that were added, the newest first."""
    own = own_models()
    width = max(len(key) for key in (*MODELS, *(each.key for each in own)))
    for key, model in MODELS.items():
        facts = card(key)
        print(f"{key:<{width}} {model.title:<34} {facts.parameter_count:>12,} parameters  {facts.accuracy:.2%} right")
    for each in own:
        right = f"{each.correct / each.judged:.2%} right" if each.metric == "accuracy" else "judged by agreement"
        print(f"{each.key:<{width}} {each.title:<34} {each.parameter_count:>12,} parameters  {right}")
    return 0


def list_runs() -> int:
    """One line a run, newest first."""
    records = open_store().runs()
    width = max((len(record.recipe.model) for record in records), default=0)
    for record in records:
        print(f"{record.id}  {record.state:<10} {record.recipe.model:<{width}} {record.title}")
    return 0


def _read(path: Path) -> Recipe:
    try:
        return from_yaml(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error})", expected="a recipe.yaml") from None


if __name__ == "__main__":
    sys.exit(main())
