"""The tables of the System page, for machines that are not this one."""

from __future__ import annotations

from dataclasses import replace

from core.devices import Device
from experiments.libraries import LIBRARIES
from experiments.whats_new import Consequence
from ui.whats_new_view import consequences, generations, libraries, unlocked

CPU = Device("cpu", "cpu", "a CPU", 2**34, cpu_flags=frozenset({"avx2", "avx512_vnni"}))
A100 = Device("cuda:0", "cuda", "A100", 2**36, (8, 0))


def test_gpus_of_a_kind_share_a_column() -> None:
    table = unlocked([CPU, A100, replace(A100, id="cuda:1")])
    assert list(table)[2:] == ["cpu · a CPU", "cuda\\:0, cuda\\:1 · A100, compute capability 8.0"]
    cells = table.set_index("")[list(table)[3]]
    assert cells["**BF16**"].startswith(":green-badge[yes]")
    assert cells["**FP8**"].startswith(":gray-badge[no] It needs compute capability 8.9")


def test_generations_say_yes_where_nvidia_does_and_mark_the_one_here() -> None:
    table = generations([CPU, A100])
    assert [title for title in table["Generation"] if "here" in title] == ["**Ampere** 8.0 :blue-badge[here]"]
    counts = (table == "yes").sum()
    assert (counts["FP16"], counts["BF16"], counts["FP8"], counts["NVFP4"]) == (7, 6, 4, 2)
    assert not generations([CPU])["Generation"].str.contains("here").any()


def test_what_asks_for_a_decision_comes_first_and_what_is_newest_not_at_all() -> None:
    kinds = ("newest", "unknown", "outside", "fits")
    found = [(LIBRARIES[place], Consequence(kind, f"{kind} *")) for place, kind in enumerate(kinds)]
    told = consequences(found)["What follows"]
    assert [words.split()[-2] for words in told] == ["fits", "outside", "unknown"]
    assert told.iloc[-1].endswith("unknown \\*")  # the words of others are never formatting


def test_the_versions_of_the_tests_stand_beside_those_here() -> None:
    table = libraries(LIBRARIES).set_index("Library")
    torch = LIBRARIES[0]
    assert list(table.loc["**torch**", ["Installed", "Tests ran on"]]) == [torch.installed, torch.tested]
    assert table.loc["**onnxruntime-gpu**", "Tests ran on"] == "–"
