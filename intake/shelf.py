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

ITEM_FILE = "item.json"


def new_folder(owner: str) -> Path:
    """An empty folder for what a parser writes; it becomes an item with `keep`."""
    folder = own_folder(owner) / "items" / uuid.uuid4().hex[:12]
    folder.mkdir(parents=True)
    return folder


def keep(folder: Path, item: Item) -> str:
    """Make what lies in the folder an item; its id."""
    draft = folder / f"{ITEM_FILE}.part"
    draft.write_text(item.model_dump_json())
    draft.replace(folder / ITEM_FILE)
    return folder.name


def items(owner: str) -> dict[str, Item]:
    """All items by id, the newest first."""
    found = sorted((own_folder(owner) / "items").glob(f"*/{ITEM_FILE}"), key=lambda path: -path.stat().st_mtime)
    read = {path.parent.name: _read(path) for path in found}
    return {key: item for key, item in read.items() if item}


def item(owner: str, key: str) -> Item:
    """One item. Raises `BadInput` where it is not here."""
    found = _read(item_folder(owner, key) / ITEM_FILE)
    if found is None:
        raise BadInput("That file is not here any more", action="Upload it again")
    return found


def item_folder(owner: str, key: str) -> Path:
    """Where its files lie. Raises `BadInput` for what is no id."""
    if not re.fullmatch(r"[0-9a-f]{12}", key):
        raise BadInput(f"{key!r} is no uploaded file", action="Choose one of the list")
    return own_folder(owner) / "items" / key


def delete_item(owner: str, key: str) -> None:
    """Forget an item; models that were made of it keep what they need."""
    shutil.rmtree(item_folder(owner, key), ignore_errors=True)


def _read(path: Path) -> Item | None:
    try:
        return parse_item(path.read_bytes())
    except (OSError, ValidationError):
        return None
