"""An HTTP server around `run.py`, and the image that it would run in."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.triton import compiles_each_batch, largest_batch

MOST_IMAGES = 64
"""Images that the server takes in one request."""
REQUIREMENTS = ("-r requirements.txt", "fastapi>=0.115,<1", "python-multipart>=0.0.18,<1", "uvicorn>=0.30,<1")
"""Lines for pip: what the server needs besides `run.py`. No measurement depends on their versions."""
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index, whose wheels leave out the CUDA libraries."""

_SERVER = '''"""Classifies images over HTTP with {file}.

    uvicorn serve:app                                        http://127.0.0.1:8000/docs describes it
    curl -F files=@photo.png http://127.0.0.1:8000/classify  one image or several, each as `-F files=@...`
"""

import os
import struct
import threading

os.environ.setdefault("OMP_NUM_THREADS", "{threads}")  # as it was measured; the engine reads it when it is opened

import numpy as np
from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse
from PIL import Image

from run import CONTRACT, classify, pixels  # opens the model, once

TITLE = {title}
LABELS = CONTRACT["labels"]
MOST_IMAGES, MOST_FILE_BYTES, MOST_REQUEST_BYTES = {most_images}, 10 * 2**20, 64 * 2**20
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # Pillow reads others with programs that strangers should not reach
AT_ONCE = {at_once}  # images that the engine is given together
TOP = min(5, len(LABELS))
Image.MAX_IMAGE_PIXELS = 25_000_000  # what has more than twice as many is refused before it is decoded
ENGINE = threading.Lock()  # one call at a time, as it was measured: an engine uses all its threads for each

app = FastAPI(title=TITLE)


@app.middleware("http")
async def refuse_large(request: Request, call_next):
    """Refuse what says that it is too large before it is read."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MOST_REQUEST_BYTES:
        sentence = f"A request may have {{MOST_REQUEST_BYTES // 2**20}} MiB: send fewer images at once"
        return JSONResponse({{"detail": sentence}}, status_code=413)
    return await call_next(request)


@app.get("/health")
def health():
    """Answers once the model is open."""
    return {{"status": "ok", "model": TITLE, "file": "{file}", "threads": os.environ["OMP_NUM_THREADS"]}}


@app.post("/classify")
def classify_images(files: list[UploadFile] = File(default=[], description="One image or several")):
    """The likeliest classes of each image with their confidences, in the order of the files."""
    if not files:
        raise HTTPException(400, "Send at least one image, in the form field `files`")
    if len(files) > MOST_IMAGES:
        raise HTTPException(413, f"A request may have {{MOST_IMAGES}} images, this one has {{len(files)}}")
    images = np.stack([decoded(file) for file in files])
    with ENGINE:
        parts = [classify(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
    return {{"images": [described(file, row) for file, row in zip(files, np.concatenate(parts))]}}


def decoded(file: UploadFile):
    """uint8 [C, H, W] as the model takes it. Raises `HTTPException` with the reason."""
    if not file.size:
        raise HTTPException(400, f"{{file.filename}} is empty")
    if file.size > MOST_FILE_BYTES:
        raise HTTPException(413, f"{{file.filename}} has more than {{MOST_FILE_BYTES // 2**20}} MiB")
    try:
        Image.open(file.file, formats=FORMATS)  # reads no more than what the file says it is
        file.file.seek(0)
        return pixels(file.file)
    except Image.DecompressionBombError:
        raise HTTPException(413, f"{{file.filename}} has more than {{2 * Image.MAX_IMAGE_PIXELS}} pixels") from None
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):
        wanted = " or ".join(FORMATS)
        raise HTTPException(415, f"{{file.filename}} is no image that can be read: send {{wanted}}") from None


def described(file: UploadFile, confidences):
    """What is answered about one image."""
    best = np.argsort(-confidences)[:TOP]
    top = [{{"label": LABELS[index], "confidence": round(float(confidences[index]), 6)}} for index in best]
    return {{"file": file.filename, **top[0], "top": top}}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=8000)
'''

_DOCKERFILE = """# A container with serve.py. It has not been built where it was written.
FROM python:{python}-slim
{packages}WORKDIR /app
COPY requirements.txt requirements-server.txt ./
RUN python -m pip install --no-cache-dir --requirement requirements-server.txt{index}
COPY {files} ./
RUN useradd --create-home server
USER server
ENV OMP_NUM_THREADS={threads}
EXPOSE 8000
HEALTHCHECK --start-period=120s CMD ["python", "-c", \
"import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
CMD ["python", "-m", "uvicorn", "serve:app", "--host", "0.0.0.0", "--port", "8000"]
"""
_COMPILER = """RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
"""


def server_code(recipe: Recipe, result: RunResult) -> str:
    """`serve.py`: `GET /health`, and `POST /classify` with image files for JSON with labels and confidences."""
    return _SERVER.format(
        file=result.artifact_files[0],
        threads=result.conditions.threads,
        title=repr(recipe.title),
        most_images=MOST_IMAGES,
        at_once=images_at_once(recipe, result),
    )


def images_at_once(recipe: Recipe, result: RunResult) -> int:
    """How many images the engine is given together: one where it would compile anew for every number of them."""
    return 1 if compiles_each_batch(recipe, result) else min(MOST_IMAGES, largest_batch(recipe))


def dockerfile(recipe: Recipe, result: RunResult, files: Sequence[str]) -> str:
    """A `Dockerfile` for the server: pinned Python, a user without rights, a health check. `files` are copied into it.

    The Python is the one that the artifact was measured with.
    """
    is_gpu = result.conditions.device != "cpu"
    is_torch = recipe.runtime in ("pytorch", "torch_compile", "aotinductor")
    return _DOCKERFILE.format(
        python=result.conditions.python,
        packages=_COMPILER if recipe.runtime == "torch_compile" else "",
        index=f" --extra-index-url {TORCH_FOR_CPUS}" if is_torch and not is_gpu else "",
        files=" ".join(files),
        threads=result.conditions.threads,
    )
