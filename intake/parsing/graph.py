"""Reads an ONNX file: checked before any engine sees it, written anew in one form, and proved to answer as before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import Refused
from core.progress import Progress, Steps
from intake.items import GRAPH_FILE, Graph
from intake.parsing.graph_scan import LARGEST_BYTES, scan
from intake.parsing.untrusted import shown

_STEPS = ("looking through it", "checking every operator", "trying it as it is", "writing it anew", "comparing answers")


def parse(file: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """The facts of `intake.items.Graph` of an ONNX file, which is written as `GRAPH_FILE` into `out`.

    Options: `name`, what the file is called; `logits`, which of its outputs is the answer, where a person said so.
    Raises `Refused`.
    """
    yield _step(0)
    size = file.stat().st_size
    if size > LARGEST_BYTES:
        raise Refused(f"The file has {size:,} bytes", expected=f"at most {LARGEST_BYTES:,}, the most that ONNX allows")
    content = file.read_bytes()
    scan(content)

    from intake.parsing.graph_draft import Draft
    from intake.parsing.graph_trial import prove

    yield _step(1)
    draft = Draft(content, options.get("logits"))
    del content
    yield _step(2)
    images, wanted = draft.tried()
    yield _step(3)
    draft.bring_to_form()
    written = draft.content()
    yield _step(4)
    doubts = prove(written, images, wanted, draft.tolerance)
    (out / GRAPH_FILE).write_bytes(written)
    facts = Graph(
        name=shown(str(options.get("name") or file.name)),
        size_bytes=size,
        warnings=tuple(doubts),
        **draft.facts(),
    )
    return facts.model_dump(mode="json")


def _step(place: int) -> Progress:
    return Progress(done=place, total=len(_STEPS), unit="steps", doing=_STEPS[place])
