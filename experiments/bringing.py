"""Carries out what is asked for of things that people bring: `python -m experiments.bringing JOB_FOLDER`.

An upload is read in the sandbox and becomes an item. A model is put together from items: its weights are matched with
its architecture, its images brought to arrays, and it is tried and judged once, so that every page knows what it is.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import Refused
from core.progress import Event, Failed, Finished, PhaseStarted, Planned, Progress, Steps
from experiments.failure import sentence_of
from experiments.jobs import (
    DRAFT,
    EVENTS_FILE,
    ORDER_FILE,
    ORDERS,
    OWNER_FILE,
    WAITS_FILE,
    CheckOrder,
    DescribeOrder,
    Order,
    tidy,
)
from experiments.turns import turn
from intake import sandbox, shelf, uploads
from intake.items import DATA_FILE, Graph, ImageSet, parse_item
from intake.parsing.kinds import FOR_TENSORFLOW
from intake.sandbox.verdicts import nonsense
from intake.written import check_written

FLUSH_SECONDS = 0.2
READING, FITTING = "Read the file", "Look up the architecture"


def main(folder: Path) -> None:
    """Do what the job's order says, once it is its turn; its events go into the folder."""
    owner = (folder / OWNER_FILE).read_text()
    order = ORDERS.validate_json((folder / ORDER_FILE).read_bytes())
    sort = "look-up" if isinstance(order, DescribeOrder) else "work"  # the former are short, and go beside the latter
    with turn(owner, sort, folder / WAITS_FILE), (folder / EVENTS_FILE).open("a") as stream:
        for event in _thinned(_events(owner, order, folder)):
            stream.write(event.model_dump_json() + "\n")
            stream.flush()


def carry_out(owner: str, order: Order, draft: Path) -> Iterator[Event]:
    """The events of an order, the last one `Finished`; `draft` is an empty folder beside what it becomes."""
    if isinstance(order, CheckOrder):
        yield Planned(phases=(READING,))
        item = yield from check(owner, order, draft)
        yield Finished(result={"item": item})
        return
    from experiments.adding import PHASES, add, describe  # a check needs nothing of it

    if isinstance(order, DescribeOrder):
        yield Planned(phases=(FITTING,))
        yield PhaseStarted(title=FITTING)
        described = describe(owner, order.source)
        yield Finished(result=described.model_dump(mode="json"))
    else:
        yield Planned(phases=PHASES)
        key = yield from add(owner, order, draft)
        yield Finished(result={"model": key})


def check(owner: str, order: CheckOrder, draft: Path) -> Steps[str]:
    """The id of the item that the upload became. Raises `Refused`."""
    upload = uploads.find(owner, order.upload)
    key = yield from keep_checked(owner, order.wanted, upload.path, draft, name=upload.name)
    uploads.delete(owner, order.upload)
    return key


def keep_checked(owner: str, wanted: uploads.Wanted, file: Path, draft: Path, *, name: str = "") -> Steps[str]:
    """The id of the item that a file becomes, which is moved where it is needed again. Raises `Refused`."""
    yield PhaseStarted(title=READING)
    size_bytes = file.stat().st_size
    name = name or file.name
    found = yield from _found(wanted, file, draft, name)
    try:
        item = parse_item(json.dumps(found | {"name": name, "size_bytes": size_bytes}))
    except ValidationError:
        raise nonsense() from None
    if isinstance(item, ImageSet) != (wanted == "data"):
        raise nonsense()
    check_written(draft, item)
    if isinstance(item, ImageSet) or (isinstance(item, Graph) and len(item.outputs) > 1):
        file.rename(draft / DATA_FILE)
    return shelf.keep(owner, draft, item)


def _found(wanted: uploads.Wanted, file: Path, draft: Path, name: str) -> Steps[dict[str, Any]]:
    """What is in the file, as the sandbox tells and as far as it concerns Keras, TensorFlow outside of it."""
    found = yield from sandbox.parse(wanted, file, draft, {"name": name})
    if found.get("kind") != FOR_TENSORFLOW:
        return found
    from experiments.bringing_keras import read_keras  # few files need anything of it

    return (yield from read_keras(file, draft, name))


def _events(owner: str, order: Order, folder: Path) -> Iterator[Event]:
    """The order's events; whatever goes wrong becomes a last event `Failed`, and leaves nothing behind."""
    draft = folder / DRAFT
    try:
        draft.mkdir()
        yield from carry_out(owner, order, draft)
    except Exception as error:
        traceback.print_exc()
        tidy(owner, folder)
        snippet = error.snippet if isinstance(error, Refused) else ""
        sentence = sentence_of(
            error,
            what="This",
            smaller="bring something smaller",
            room="delete what you brought before",
            log="The server's log has more.",
        )
        yield Failed(sentence=sentence, details=traceback.format_exc(), snippet=snippet)
    shutil.rmtree(draft, ignore_errors=True)


def _thinned(events: Iterator[Event]) -> Iterator[Event]:
    """Without most of the progress, of which pages see five a second."""
    said_at = 0.0
    for event in events:
        now = time.monotonic()
        if isinstance(event, Progress) and event.done < event.total and now - said_at < FLUSH_SECONDS:
            continue
        said_at = now if isinstance(event, Progress) else said_at
        yield event


if __name__ == "__main__":
    main(Path(sys.argv[1]))
