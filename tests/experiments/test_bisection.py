"""The search against brute force on random graphs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from core.progress import Progress, Steps, result_of
from experiments.bisection import Ask, Bisection, Graph


def random_graph(generator: random.Random, size: int) -> dict[str, tuple[str, ...]]:
    """With branches: each result is computed from up to three earlier ones, and the last from every loose end."""
    sources: dict[str, tuple[str, ...]] = {"n0": ()}
    for place in range(1, size):
        earlier = list(sources)[-6:]
        sources[f"n{place}"] = tuple(generator.sample(earlier, min(len(earlier), generator.randint(1, 3))))
    read = {source for each in sources.values() for source in each}
    sources["end"] = tuple(name for name in sources if name not in read)
    return sources


def tainted(sources: dict[str, tuple[str, ...]], faulty: set[str]) -> set[str]:
    """What is wrong where everything that is computed from something wrong is wrong."""
    wrong: set[str] = set()
    for name, needed in sources.items():
        if name in faulty or wrong.intersection(needed):
            wrong.add(name)
    return wrong


def comes_before(sources: dict[str, tuple[str, ...]], name: str) -> set[str]:
    """By walking back, without any memory."""
    return set(sources[name]).union(*(comes_before(sources, source) for source in sources[name]))


def asking(answer: Callable[[str], bool | None], asked: list[str]) -> Ask:
    def ask(name: str) -> Steps[bool | None]:
        yield Progress(done=0, total=1, unit="tensors")
        asked.append(name)
        return answer(name)

    return ask


@pytest.mark.parametrize("seed", range(40))
def test_the_first_wrong_result_is_found_in_any_graph(seed: int) -> None:
    generator = random.Random(seed)
    sources = random_graph(generator, generator.randint(2, 14))
    faulty = {generator.choice(list(sources))}
    wrong = tainted(sources, faulty)
    shown = [name for name in sources if generator.random() < 0.6 or name == "end"]
    asked: list[str] = []
    search = Bisection(Graph(sources), list(shown), asking(wrong.__contains__, asked))
    found = result_of(search.first_wrong())

    first = {each for each in wrong.intersection(shown) if not wrong.intersection(shown) & comes_before(sources, each)}
    assert found in first
    before = search.nearest_before(found)
    assert wrong.isdisjoint(before)
    assert faulty <= set(Graph(sources).between(found, before))
    assert len(asked) == len(set(asked))


def test_a_long_chain_takes_few_answers() -> None:
    sources = {f"n{place}": (f"n{place - 1}",) if place else () for place in range(1000)}
    asked: list[str] = []
    ask = asking(lambda name: int(name[1:]) >= 617, asked)
    assert result_of(Bisection(Graph(sources), list(sources), ask).first_wrong()) == "n617"
    assert len(asked) <= 12  # 2^10 > 1000, and what reads it


def test_what_the_next_layer_undoes_is_passed_over() -> None:
    """As SmoothQuant does, which moves a scale from a layer's input into its weights."""
    sources = {"a": (), "norm": ("a",), "linear": ("norm",), "sum": ("a", "linear"), "bad": ("sum",), "end": ("bad",)}
    wrong = {"norm", "bad", "end"}
    assert result_of(Bisection(Graph(sources), list(sources), asking(wrong.__contains__, [])).first_wrong()) == "bad"
    only_scaled = asking({"norm"}.__contains__, [])
    assert result_of(Bisection(Graph(sources), ["a", "norm", "linear"], only_scaled).first_wrong()) is None


def test_results_that_cannot_be_told_are_left_out() -> None:
    sources = {f"n{place}": (f"n{place - 1}",) if place else () for place in range(20)}
    search = Bisection(
        Graph(sources), list(sources), asking(lambda name: None if int(name[1:]) % 3 else int(name[1:]) >= 9, [])
    )
    assert result_of(search.first_wrong()) == "n9"
    assert search.nearest_before("n9") == ("n6",)
    nothing = Bisection(Graph(sources), list(sources), asking(lambda _name: None, []))
    assert result_of(nothing.first_wrong()) is None


def test_neighbours_on_branches_of_different_length() -> None:
    graph = Graph({"a": (), "b": ("a",), "c": ("b",), "skip": ("a",), "sum": ("c", "skip"), "end": ("sum",)})
    assert set(graph.nearest_before("sum", {"a", "b"})) == {"a", "b"}
    assert set(graph.nearest_after("a", {"c", "end"})) == {"c", "end"}
    assert graph.between("sum", ("b",)) == ("c", "skip", "sum")
