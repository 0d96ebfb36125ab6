from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from core.devices import find_device
from core.errors import RunFailed
from core.progress import Metric, PhaseStarted, Progress, result_of
from experiments.duel import ROLES, Duel, DuelResult, Role, Round, run_duel, take_turns
from experiments.server import Block
from profiling.machine import conditions
from tests.experiments.tiny import onnx_artifact

CPU = find_device("cpu")
HERE_AND_NOW = conditions(CPU, threads=1, seed=0)
Disturbance = Callable[[int], float]
"""Factor on the duration of the block with that number."""


class Machine:
    """One clock for all processes: what disturbs a block depends on when it is its turn."""

    def __init__(self, seed: int, disturbance: Disturbance, *, noise: float, bias: float) -> None:
        self.random = np.random.default_rng(seed)
        self.disturbance, self.noise, self.bias, self.blocks = disturbance, noise, bias, 0

    def start(self, base_ms: float) -> Process:
        return Process(self, base_ms * math.exp(self.bias * self.random.normal()))


class Process:
    """Each start of an artifact is a little faster or slower for as long as it lives."""

    def __init__(self, machine: Machine, base_ms: float) -> None:
        self.machine, self.base_ms, self.blocks = machine, base_ms, 0

    def block(self, lasting_ms: float) -> Block:
        machine = self.machine
        machine.blocks, self.blocks = machine.blocks + 1, self.blocks + 1
        burst = 1.3 if machine.random.random() < 0.1 else 1.0
        call_ms = self.base_ms * machine.disturbance(machine.blocks) * burst
        return Block(calls_ms=(call_ms * math.exp(machine.noise * machine.random.normal()),), contended_share=None)


def duel_on(machine: Machine, *, second: float = 1.0, seed: int = 0) -> DuelResult:
    """A simulated duel of an artifact with one that takes `second` times as long."""
    duel = Duel(first="a", second="b", seed=seed)
    rounds: tuple[Round, ...] = ()
    for _ in range(duel.starts):
        base_ms: dict[Role, float] = {"first": 2.0, "control": 2.0, "second": 2.0 * second}
        servers = {role: machine.start(each) for role, each in base_ms.items()}
        rounds = result_of(take_turns(duel, servers, rounds))
    return result_with(rounds, duel)


def result_with(rounds: tuple[Round, ...], duel: Duel | None = None) -> DuelResult:
    duel = duel or Duel(first="a", second="b")
    return DuelResult(duel=duel, batch_size=1, rounds=rounds, conditions=HERE_AND_NOW)


def rounds_of(*, control: Iterator[float] | float, second: Iterator[float] | float) -> tuple[Round, ...]:
    """20 rounds in which the first takes 1 ms, and the others so much."""
    values = [(each if isinstance(each, Iterator) else iter([each] * 20)) for each in (control, second)]
    return tuple(Round(first_ms=1, control_ms=c, second_ms=s, order=ROLES) for c, s in zip(*values, strict=True))


DISTURBANCES: dict[str, Disturbance] = {
    "none": lambda block: 1.0,
    "a drift": lambda block: 1 + block / 200,
    "a slow wave": lambda block: 1 + 0.2 * math.sin(block / 11),
    "every third block": lambda block: 1.06 if block % 3 == 0 else 1.0,
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_duel_with_itself_rarely_finds_a_difference_and_one_of_a_tenth_is_found(name: str) -> None:
    machines = [Machine(seed, DISTURBANCES[name], noise=0.02, bias=0.015) for seed in range(80)]
    same = [duel_on(machine, seed=seed).verdict for seed, machine in enumerate(machines[:40])]
    slowed = [duel_on(machine, second=1.1, seed=seed).verdict for seed, machine in enumerate(machines[40:])]
    assert sum(verdict != "no measurable difference" for verdict in same) <= 2
    assert sum(verdict == "slower" for verdict in slowed) >= 32


def test_every_round_asks_each_process_once_in_an_order_that_the_seed_decides() -> None:
    def orders(seed: int) -> list[tuple[Role, ...]]:
        machine = Machine(0, DISTURBANCES["none"], noise=0.01, bias=0)
        servers: dict[Role, Process] = {role: machine.start(2.0) for role in ROLES}
        duel = Duel(first="a", second="b", rounds=200, starts=4, seed=seed)
        rounds = result_of(take_turns(duel, servers))
        assert [process.blocks for process in servers.values()] == [50, 50, 50]
        again = result_of(take_turns(duel, servers, rounds))
        assert again[:50] == rounds
        assert [each.order for each in again[50:]] != [each.order for each in rounds]
        return [each.order for each in again]

    assert orders(1) == orders(1) != orders(2)
    counts = Counter(orders(1))
    assert len(counts) == 6
    assert all(sorted(order) == sorted(ROLES) for order in counts)


def test_a_round_keeps_the_median_of_each_block_and_the_mean_of_the_waiting() -> None:
    class Fixed:
        def __init__(self, *calls_ms: float, share: float | None) -> None:
            self._block = Block(calls_ms=calls_ms, contended_share=share)

        def block(self, lasting_ms: float) -> Block:
            assert lasting_ms == 30
            return self._block

    servers: dict[Role, Fixed] = {
        "first": Fixed(1, 2, 9, share=0.1),
        "control": Fixed(3, 5, share=0.3),
        "second": Fixed(8, share=None),
    }
    rounds = result_of(take_turns(Duel(first="a", second="b", block_ms=30), servers))
    assert len(rounds) == 10
    assert {(each.first_ms, each.control_ms, each.second_ms) for each in rounds} == {(2, 4, 8)}
    result = result_with(rounds)
    assert result.contended_share == pytest.approx(0.2)
    assert result.is_contended
    assert result.ratio.value == pytest.approx(math.sqrt(2 * 4) / 8)
    assert result.a_over_a.value == pytest.approx(2 / 4)
    again = DuelResult.model_validate_json(result.model_dump_json())
    assert again == result
    assert again.ratio == result.ratio


@pytest.mark.parametrize(("rounds", "starts", "each"), [(40, 4, 10), (20, 3, 7), (200, 10, 20), (20, 10, 2)])
def test_rounds_are_shared_out_equally(rounds: int, starts: int, each: int) -> None:
    assert Duel(first="a", second="b", rounds=rounds, starts=starts).rounds_per_start == each


def test_an_unlucky_start_is_told_from_a_difference() -> None:
    def slow_in(starts: set[int]) -> DuelResult:
        noise = itertools.cycle([0.999, 1.0, 1.001])
        return result_with(
            tuple(
                Round(
                    first_ms=1,
                    control_ms=1,
                    second_ms=next(noise) * (1.1 if at in starts else 1),
                    order=ROLES,
                    start=at,
                )
                for at in (0, 1, 2, 3)
                for _ in range(10)
            )
        )

    assert slow_in({0, 1, 2, 3}).verdict == "slower"
    assert slow_in({0}).verdict == slow_in({0, 1}).verdict == "no measurable difference"
    as_one_start = tuple(each.model_copy(update={"start": 0}) for each in slow_in({0, 1, 2}).rounds)
    assert result_with(as_one_start).verdict == "slower"  # what would be said if starts were taken for rounds
    assert slow_in({0, 1, 2}).verdict == "no measurable difference"


@pytest.mark.parametrize(
    ("control", "second", "verdict"),
    [
        (1.00, 0.90, "faster"),
        (1.00, 1.10, "slower"),
        (1.00, 0.98, "no measurable difference"),  # certain, but below 3 %
        (1.00, 1.02, "no measurable difference"),
        (1.20, 0.95, "no measurable difference"),  # beyond 3 %, but the control differs by more
        (0.80, 1.05, "no measurable difference"),
        (1.20, 0.70, "faster"),
    ],
)
def test_a_difference_has_to_exceed_three_per_cent_and_the_control(control: float, second: float, verdict: str) -> None:
    assert result_with(rounds_of(control=control, second=second)).verdict == verdict


def test_a_difference_has_to_have_an_interval_without_equality() -> None:
    torn = result_with(rounds_of(control=1.0, second=iter([0.5] * 11 + [1.6] * 9)))
    assert torn.ratio.value > torn.smallest_ratio
    assert torn.ratio.low < 1 < torn.ratio.high
    assert torn.verdict == "no measurable difference"


def test_a_restless_control_asks_for_more() -> None:
    quiet = result_with(rounds_of(control=iter([0.99, 1.01] * 10), second=0.9))
    restless = result_with(rounds_of(control=iter([0.8, 1.25] * 10), second=iter([0.89, 0.91] * 10)))
    assert (quiet.smallest_ratio, quiet.verdict) == (1.03, "faster")
    assert restless.smallest_ratio == pytest.approx(1.25)
    assert restless.verdict == "no measurable difference"


def test_the_sentence_has_the_figures_the_way_the_verdict_goes() -> None:
    assert result_with(rounds_of(control=1, second=0.5)).sentence == "2.00x faster (95 % interval 2.00 to 2.00)"
    assert result_with(rounds_of(control=1, second=1.25)).sentence == "1.25x slower (95 % interval 1.25 to 1.25)"
    assert result_with(rounds_of(control=1, second=1)).sentence == (
        "no measurable difference (1.000 times as fast, 95 % interval 1.000 to 1.000; here it takes more than 1.030)"
    )


@pytest.mark.parametrize(
    "bad", [{"rounds": 19}, {"rounds": 201}, {"block_ms": 5}, {"starts": 1}, {"seed": -1}, {"third": "c"}]
)
def test_a_duel_refuses_what_is_out_of_bounds(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Duel.model_validate({"first": "a", "second": "b"} | bad)


def test_a_real_duel_says_what_it_does_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.duel.REPORT_SECONDS", 0)
    artifact = onnx_artifact(tmp_path)
    duel = Duel(first="a", second="b", starts=2, block_ms=20).model_copy(update={"rounds": 6})
    steps, events = run_duel(duel, artifact, artifact, CPU, threads=1, batch_size=2), []
    try:
        while True:
            events.append(next(steps))
    except StopIteration as stop:
        result: DuelResult = stop.value
    phases = [(event.title, event.timed) for event in events if isinstance(event, PhaseStarted)]
    assert phases == [("Open", False), ("A/B", True)]
    timed = events[events.index(next(e for e in events if isinstance(e, PhaseStarted) and e.timed)) + 1 :]
    assert {type(event) for event in timed} == {Metric, Progress}
    assert all(event.total == 6 for event in timed if isinstance(event, Progress))
    assert [each.start for each in result.rounds] == [0] * 3 + [1] * 3
    assert result.batch_size == 2
    assert result.ratio.low <= result.ratio.value <= result.ratio.high
    assert result.a_over_a.low <= result.a_over_a.value <= result.a_over_a.high
    assert not servers_running()


def test_a_process_that_cannot_open_ends_the_duel_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    good, bad = onnx_artifact(tmp_path / "good"), onnx_artifact(tmp_path / "bad")
    bad.main_file.write_bytes(b"no graph")
    with pytest.raises(RunFailed, match=r"model\.onnx cannot be served"):
        result_of(run_duel(Duel(first="a", second="b"), good, bad, CPU, threads=1, batch_size=1))
    assert not servers_running()


def test_closing_a_duel_half_way_ends_its_processes(tmp_path: Path) -> None:
    artifact = onnx_artifact(tmp_path)
    steps = run_duel(Duel(first="a", second="b"), artifact, artifact, CPU, threads=1, batch_size=1)
    while not isinstance(next(steps), Progress):
        pass
    assert len(servers_running()) == 3
    steps.close()
    assert not servers_running()


def servers_running() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "experiments.server" in command_of(each)]


def command_of(process: psutil.Process) -> list[str]:
    """Empty for one that has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
