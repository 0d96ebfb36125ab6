"""The first wrong result in a graph of results that are computed from one another.

Halving a list in the order of computation would go wrong where the network branches: what stands before a wrong result
in the list need not be what it was computed from. So what is halved are the results that a wrong one was computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from core.progress import Steps

Ask = Callable[[str], Steps[bool | None]]
"""Whether a result is wrong; None where it cannot be told."""


@dataclass(frozen=True, eq=False)
class Graph:
    """What is computed from what."""

    sources: Mapping[str, tuple[str, ...]]
    """Of every result, in the order of computation, those that it is computed from directly."""

    @cached_property
    def ancestors(self) -> Mapping[str, frozenset[str]]:
        """Of every result, all those that it is computed from."""
        found: dict[str, frozenset[str]] = {}
        for name, sources in self.sources.items():
            found[name] = frozenset(sources).union(*(found[source] for source in sources))
        return found

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Of every result, those that are computed from it directly."""
        found: dict[str, list[str]] = {name: [] for name in self.sources}
        for name, sources in self.sources.items():
            for source in sources:
                found[source].append(name)
        return {name: tuple(readers) for name, readers in found.items()}

    def nearest_before(self, name: str, among: Collection[str]) -> tuple[str, ...]:
        """Those of `among` that it is computed from with none of them in between."""
        return _nearest(name, self.sources, among)

    def nearest_after(self, name: str, among: Collection[str]) -> tuple[str, ...]:
        """Those of `among` that are computed from it with none of them in between."""
        return _nearest(name, self.readers, among)

    def between(self, name: str, before: Collection[str]) -> tuple[str, ...]:
        """The result itself and all that it is computed from, without `before` and what that is computed from."""
        done = set(before).union(*(self.ancestors[each] for each in before))
        wanted = (self.ancestors[name] | {name}) - done
        return tuple(each for each in self.sources if each in wanted)


def _nearest(name: str, neighbours: Mapping[str, tuple[str, ...]], among: Collection[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = list(neighbours[name])
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in among:
            found[each] = None
        else:
            waiting.extend(neighbours[each])
    return tuple(found)


@dataclass
class Bisection:
    """A search for the first wrong result, which remembers every answer.

    It supposes that what a right result was computed from is right, or that what is wrong there does not matter.
    """

    graph: Graph
    shown: list[str]
    """Results that can be asked for, in the order of computation."""
    ask: Ask
    answers: dict[str, bool] = field(default_factory=dict)
    """Whether each result that was asked for is wrong."""
    harmless: set[str] = field(default_factory=set)
    """Those that are wrong while all that is computed from them is right."""

    def first_wrong(self) -> Steps[str | None]:
        """A wrong result of which all nearest before it are right and, where it is read at all, one that reads it is
        wrong; None where there is no such. It takes about as many answers as the length of the network has binary
        digits, and a few more.
        """
        while True:
            suspect = yield from self._descend(self._suspects())
            if suspect is None:
                return None
            if (yield from self._matters(suspect)):
                return suspect
            self.harmless.add(suspect)

    def nearest_before(self, name: str) -> tuple[str, ...]:
        """The nearest results before it that can be asked for."""
        return self.graph.nearest_before(name, self.shown)

    def _suspects(self) -> list[str]:
        """Those that no right result was computed from."""
        right = [name for name, is_wrong in self.answers.items() if not is_wrong]
        cleared = set(right).union(*(self.graph.ancestors[name] for name in right))
        return [name for name in self.shown if name not in cleared | self.harmless]

    def _descend(self, suspects: list[str]) -> Steps[str | None]:
        """The last wrong result on the way back to the input."""
        wrong: str | None = None
        while suspects:
            middle = suspects[len(suspects) // 2]
            is_wrong = yield from self._is_wrong(middle)
            before = self.graph.ancestors[middle]
            if is_wrong is None:
                suspects = [name for name in suspects if name != middle]
            elif is_wrong:
                wrong, suspects = middle, [name for name in suspects if name in before]
            else:
                suspects = [name for name in suspects if name != middle and name not in before]
            if wrong and not suspects:
                suspects = yield from self._wrong_before(wrong)
        return wrong

    def _wrong_before(self, wrong: str) -> Steps[list[str]]:
        """One of the nearest before it that is wrong after all, although a right result was computed from it."""
        for name in self._unless_gone(lambda: self.graph.nearest_before(wrong, self.shown)):
            if name not in self.harmless and (yield from self._is_wrong(name)):
                return [name]
        return []

    def _matters(self, wrong: str) -> Steps[bool]:
        """Whether any of the nearest that read it is wrong: a scale that the next layer undoes does no harm."""
        is_read = False
        for name in self._unless_gone(lambda: self.graph.nearest_after(wrong, self.shown)):
            is_wrong = yield from self._is_wrong(name)
            if is_wrong:
                return True
            is_read = is_read or is_wrong is False
        return not is_read

    def _unless_gone(self, nearest: Callable[[], tuple[str, ...]]) -> Iterator[str]:
        """Each of the nearest once; where one cannot be told, the next nearest take its place."""
        given: set[str] = set()
        while left := [name for name in nearest() if name not in given]:
            given.add(left[0])
            yield left[0]

    def _is_wrong(self, name: str) -> Steps[bool | None]:
        if name not in self.answers:
            answer = yield from self.ask(name)
            if answer is None:
                self.shown.remove(name)
                return None
            self.answers[name] = answer
        return self.answers[name]
