"""An HTTP server around the `run.py` of a model of texts."""

from __future__ import annotations

from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.serving import MOST_IMAGES, images_at_once

_SERVER = '''"""Classifies texts over HTTP with {file}.

    uvicorn serve:app                                        http://127.0.0.1:8000/docs describes it
    curl -H "Content-Type: application/json" -d '{{"texts": ["a text"]}}' http://127.0.0.1:8000/classify
"""

import os
import threading

os.environ.setdefault("OMP_NUM_THREADS", "{threads}")  # as it was measured; the engine reads it when it is opened

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from run import CONTRACT, classify, tokens  # opens the model, once

TITLE = {title}
LABELS = CONTRACT["labels"]
MOST_TEXTS, MOST_CHARACTERS, MOST_REQUEST_BYTES = {most}, 100_000, 8 * 2**20
AT_ONCE = {at_once}  # texts that the engine is given together
TOP = min(5, len(LABELS))
ENGINE = threading.Lock()  # one call at a time, as it was measured: an engine uses all its threads for each

app = FastAPI(title=TITLE)


class Texts(BaseModel):
    """What is to be classified."""

    texts: list[str]


@app.middleware("http")
async def refuse_large(request: Request, call_next):
    """Refuse what says that it is too large before it is read."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MOST_REQUEST_BYTES:
        sentence = f"A request may have {{MOST_REQUEST_BYTES // 2**20}} MiB: send fewer texts at once"
        return JSONResponse({{"detail": sentence}}, status_code=413)
    return await call_next(request)


@app.get("/health")
def health():
    """Answers once the model is open."""
    return {{"status": "ok", "model": TITLE, "file": "{file}", "threads": os.environ["OMP_NUM_THREADS"]}}


@app.post("/classify")
def classify_texts(given: Texts):
    """The likeliest classes of each text with their confidences, in the order of the texts."""
    if not given.texts:
        raise HTTPException(400, "Send at least one text, in the list `texts`")
    if len(given.texts) > MOST_TEXTS:
        raise HTTPException(413, f"A request may have {{MOST_TEXTS}} texts, this one has {{len(given.texts)}}")
    if max(map(len, given.texts)) > MOST_CHARACTERS:
        raise HTTPException(413, f"A text may have {{MOST_CHARACTERS:,}} characters")
    found = tokens(given.texts)
    with ENGINE:
        parts = [classify(found[start : start + AT_ONCE]) for start in range(0, len(found), AT_ONCE)]
    return {{"texts": [described(row) for row in np.concatenate(parts)]}}


def described(confidences):
    """What is answered about one text."""
    best = np.argsort(-confidences)[:TOP]
    top = [{{"label": LABELS[index], "confidence": round(float(confidences[index]), 6)}} for index in best]
    return {{**top[0], "top": top}}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=8000)
'''


def text_server_code(recipe: Recipe, result: RunResult) -> str:
    """`serve.py`: `GET /health`, and `POST /classify` with JSON of texts for JSON with labels and confidences."""
    return _SERVER.format(
        file=result.artifact_files[0],
        threads=result.conditions.threads,
        title=repr(recipe.title),
        most=MOST_IMAGES,
        at_once=images_at_once(recipe, result),
    )
