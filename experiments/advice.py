"""What to do about a profile: a few changes, each from a measured fact, each a recipe whose promise a run can test.

A rule says nothing without a fact measured in the profile or the scan, nothing that is done already, and nothing that
cannot run on this machine. What it promises follows from measured values and is discounted in the open; the promise
names how. Pure functions: nothing is run, nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from experiments import advice_bits, advice_float, advice_serving, advice_size
from experiments.advice_facts import GROUNDS, Advice, Facts, Ground
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.roofline import time_by_bound
from experiments.scan import ScanResult
from experiments.why_format import listed, percent

MOST = 6
LEAST_WORTH = 0.05
"""A smaller share of time or bytes is not worth a run."""
_IN_WORDS = {"compute": "is bound by arithmetic", "memory": "is bound by memory", "overhead": "is overhead"}

Rule = Callable[[Facts], Iterator[Advice]]
RULES: Mapping[str, Rule] = {
    "int8": advice_bits.int8,
    "sixteen_bits": advice_bits.sixteen_bits,
    "int8_file": advice_bits.int8_file,
    "small_weights": advice_bits.small_weights,
    "another_engine": advice_serving.another_engine,
    "cuda_graph": advice_serving.cuda_graph,
    "larger_batch": advice_serving.larger_batch,
    "wide_layers": advice_size.wide_layers,
    "heavy_block": advice_size.heavy_block,
    "odd_widths": advice_size.odd_widths,
    "isolated_layers": advice_float.isolated_layers,
    "sensitive_layers": advice_float.sensitive_layers,
}
"""In the order in which they are asked; of two that are worth the same, the earlier one comes first."""


def advise(result: ProfileResult, recipe: Recipe, *, scan: ScanResult | None = None) -> tuple[Advice, ...]:
    """What the profile of the recipe's variant suggests, what is worth most first; at most six, perhaps none."""
    facts = Facts(result, recipe, scan)
    found = [advice for rule in RULES.values() for advice in rule(facts) if advice.worth >= LEAST_WORTH]
    found.sort(key=lambda advice: -advice.worth)
    by_recipe = {advice.recipe.digest: advice for advice in reversed(found)}
    return tuple(advice for advice in found if by_recipe[advice.recipe.digest] is advice)[:MOST]


def left_out(result: ProfileResult) -> str:
    """One sentence where a part of the rules was silenced by what disturbed the profile; empty where none was."""
    if not result.latency.is_contended:
        return ""
    return (
        "Other work took processor time while latency was timed, so that nothing is said here about launches and batch "
        "sizes. Profile again on a quiet machine."
    )


def why_none(result: ProfileResult, recipe: Recipe) -> str:
    """One sentence on a profile that suggests nothing."""
    facts = Facts(result, recipe, None)
    end = f"no change known here promises to save {percent(LEAST_WORTH)} of the time or the bytes."
    if not facts.placed:
        return f"What the device attains is not known, and without that {end}"
    bounds = time_by_bound(facts.placed)
    shares = [
        f"{percent(time_ms / facts.whole_ms)} {_IN_WORDS[bound]}"
        for bound, time_ms in sorted(bounds.items(), key=lambda item: -item[1])
        if bound in _IN_WORDS and time_ms >= LEAST_WORTH * facts.whole_ms
    ]
    return (
        f"Of a call {listed(shares)}: {end}" if shares else f"The engine does not say what bounds its layers, and {end}"
    )


__all__ = ["GROUNDS", "LEAST_WORTH", "MOST", "RULES", "Advice", "Ground", "advise", "left_out", "why_none"]
