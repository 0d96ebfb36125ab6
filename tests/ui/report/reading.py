"""A report to look at, and what a browser would make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser

from experiments.compare import against_baseline, variants
from experiments.recipe import Recipe
from experiments.report import Report, Wishes, compose
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import measured
from ui import tables

MIB = 2**20
BASELINE = Recipe(model="resnet_fmnist")
INT8 = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
EMPTY = {"meta", "link", "img", "br", "input", "path", "circle"}


def leave(store: Store, recipe: Recipe, *, wrong: int = 140, p50_ms: float = 1.0, size_bytes: int = 3 * MIB) -> str:
    """A finished run without files; its id."""
    run_id = store.begin_here(recipe)
    store.finish(run_id, measured(recipe, wrong=wrong, p50_ms=p50_ms, size_bytes=size_bytes))
    return run_id


def report_on(store: Store, wishes: Wishes | None = None) -> Report:
    """The report on everything in the store."""
    records = store.runs()
    results = store.results([record.id for record in records])
    frame = tables.with_unique_titles(against_baseline(variants(records), results))
    return compose(frame, records, results, wishes, at=datetime(2026, 11, 25, 9, tzinfo=UTC))


@dataclass
class Node:
    """An element with what is in it."""

    name: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(each if isinstance(each, str) else each.text for each in self.children)

    def all(self, name: str) -> list[Node]:
        """All elements of that name below this one, in their order."""
        found = []
        for each in self.children:
            if isinstance(each, Node):
                found += [each] if each.name == name else []
                found += each.all(name)
        return found

    def every(self) -> list[Node]:
        """All elements below this one."""
        return [found for each in self.children if isinstance(each, Node) for found in (each, *each.every())]

    def of_class(self, css: str) -> list[Node]:
        """All elements below this one with that class."""
        return [each for each in self.every() if css in each.attributes.get("class", "").split()]


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("document", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag not in EMPTY:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"<{self._open[-1].name}> is closed by </{tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def read(html: str) -> Node:
    """The document as a tree. Fails where a tag is closed that is not the open one."""
    tree = _Tree()
    tree.feed(html)
    tree.close()
    assert tree._open == [tree.root]
    return tree.root
