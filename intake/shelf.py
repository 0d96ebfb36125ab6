"""The items of a person: files that were found good, each in a folder with its facts."""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path

from pydantic import ValidationError

from core.errors import BadInput
from intake.items import Item, parse_item
from intake.library import own_folder
from intake.sources import ITEM

ITEM_FILE = "item.json"


def keep(owner: str, draft: Path, item: Item) -> str:
    """Make what a parser wrote into the folder `draft` an item, which moves it; the item's id."""
    (draft / ITEM_FILE).write_text(item.model_dump_json())
    folder = items_folder(owner) / uuid.uuid4().hex[:12]
    folder.parent.mkdir(exist_ok=True)
    draft.rename(folder)
    return folder.name


def items(owner: str) -> dict[str, Item]:
    """All items by id, the newest first."""
    found = sorted(items_folder(owner).glob(f"*/{ITEM_FILE}"), key=lambda path: -path.stat().st_mtime)
    read = {path.parent.name: _read(path) for path in found}
    return {key: item for key, item in read.items() if item}


def item(owner: str, key: str) -> Item:
    """One item. Raises `BadInput` where it is not here."""
    found = _read(item_folder(owner, key) / ITEM_FILE)
    if found is None:
        raise BadInput("That file is not here any more", action="Upload it again")
    return found


def items_folder(owner: str) -> Path:
    """Where all items lie, each in a folder called by its id."""
    return own_folder(owner) / "items"


def item_folder(owner: str, key: str) -> Path:
    """Where its files lie. Raises `BadInput` for what is no id."""
    if not re.fullmatch(ITEM, key):
        raise BadInput(f"{key!r} is no uploaded file", action="Choose one of the list")
    return items_folder(owner) / key


def delete_item(owner: str, key: str) -> None:
    """Forget an item; models that were made of it keep what they need."""
    shutil.rmtree(item_folder(owner, key), ignore_errors=True)


def _read(path: Path) -> Item | None:
    try:
        return parse_item(path.read_bytes())
    except (OSError, ValidationError):
        return None
