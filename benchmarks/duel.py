"""How often a duel is right, on the machine it runs on: `python -m benchmarks.duel [--comparisons 40] [--json FILE]`.

Lets a bundled sample duel with itself, every process a fresh one, and again with the second slowed down by a planted
10 %: its process stretches each call by a tenth of the call's own duration. At most 5 % of the former may be called a
difference, and at least 80 % of the latter have to be found. Rounds and starts are the fewest a duel allows and blocks
are short, which makes it harder. On a busy machine less is found, as it should be; the column `waiting` tells.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.devices import find_device
from core.progress import Finished, result_of
from experiments.duel import Duel, DuelResult, run_duel
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run
from runtimes.runtime import Artifact

PLANTED = 0.10
MOST_FALSE_ALARMS = 0.05
FEWEST_FOUND = 0.80
HEADER = " planted   ratio  its interval     control  its interval     waiting  verdict"


def main() -> int:
    """Compare, print, write; 0 when both targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=40, help="of each kind")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--block-ms", type=float, default=40)
    parser.add_argument("--model", default="resnet_fmnist")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where to write every round")
    options = parser.parse_args()
    recipe = Recipe(
        model=options.model,
        runtime=options.runtime,
        device=options.device,
        measurement=MeasurementSettings(threads=1, latency_seconds=1),
    )
    results: dict[float, list[DuelResult]] = {0.0: [], PLANTED: []}
    with tempfile.TemporaryDirectory() as folder:
        artifact = _make(recipe, Path(folder))
        print(HEADER)
        for seed in range(options.comparisons):
            # In turns, so that a restless minute does not strike one kind alone.
            for slowdown, done in results.items():
                duel = Duel(
                    first="sample",
                    second="sample",
                    rounds=options.rounds,
                    starts=options.starts,
                    block_ms=options.block_ms,
                    seed=seed,
                )
                done.append(_compare(duel, artifact, recipe, slowdown))
    if options.json:
        options.json.write_text(json.dumps(_record(results), indent=1))
    return _judge(results[0.0], results[PLANTED])


def _make(recipe: Recipe, folder: Path) -> Artifact:
    """The sample's artifact, with what travels beside it."""
    last = list(run(recipe, folder))[-1]
    assert isinstance(last, Finished)
    result = RunResult.model_validate(last.result)
    return Artifact(recipe.runtime, result.precision, folder / "artifact", result.artifact_files)


def _compare(duel: Duel, artifact: Artifact, recipe: Recipe, slowdown: float) -> DuelResult:
    device, threads = find_device(recipe.device), recipe.measurement.threads
    steps = run_duel(duel, artifact, artifact, device, threads=threads, batch_size=1, slowdown=slowdown)
    result = result_of(steps)
    waiting = "" if result.contended_share is None else f"{result.contended_share:.1%}"
    figures = "  ".join(
        f"{each.value:7.4f}  {each.low:.4f} - {each.high:.4f}" for each in (result.ratio, result.a_over_a)
    )
    print(f"{slowdown:>8.0%} {figures} {waiting:>7}  {result.verdict}", flush=True)
    return result


def _record(results: dict[float, list[DuelResult]]) -> list[dict[str, Any]]:
    return [
        {"planted": slowdown, "verdict": result.verdict, "result": result.model_dump(mode="json")}
        for slowdown, done in results.items()
        for result in done
    ]


def _judge(same: Sequence[DuelResult], slowed: Sequence[DuelResult]) -> int:
    alarms = sum(result.verdict != "no measurable difference" for result in same) / len(same)
    found = sum(result.verdict == "slower" for result in slowed) / len(slowed)
    print(f"\nsame artifact called different: {alarms:.1%} of {len(same)}   (at most {MOST_FALSE_ALARMS:.0%})")
    print(f"planted {PLANTED:.0%} slow-down found:    {found:.1%} of {len(slowed)}   (at least {FEWEST_FOUND:.0%})")
    return 0 if alarms <= MOST_FALSE_ALARMS and found >= FEWEST_FOUND else 1


if __name__ == "__main__":
    sys.exit(main())
