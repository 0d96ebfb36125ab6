"""Every file of the corpus of weights, read as an upload would be: taken or refused, and nothing ever runs."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from core.errors import Refused
from core.progress import result_of
from intake.items import WEIGHTS_FILE, Weights, parse_item
from intake.parsing import snippets
from intake.parsing.model import parse
from tests.hostile.case import Case
from tests.hostile.pickles import checkpoint, pickled, safetensors, tensor
from tests.hostile.weights import CASES, HONEST, RUNS

SNIPPETS = {
    "weights-code-whole-module": snippets.SAVE_WEIGHTS,
    "weights-foreign-legacy": snippets.SAVE_AGAIN,
    "weights-foreign-tar": snippets.SAVE_AGAIN,
    "weights-zip-deflated": snippets.STORE_UNPACKED,
    "weights-zip-torchscript": snippets.TORCHSCRIPT_TO_ONNX,
    "weights-zip-exported": snippets.EXPORTED_TO_ONNX,
    "weights-lie-expanded": snippets.CONTIGUOUS,
}


def read(file: Path, folder: Path) -> Weights:
    """What the parser says of a file, its own output checked by the form of an item."""
    folder.mkdir(exist_ok=True)
    facts = result_of(parse(file, folder, {}))
    item = Weights.model_validate(facts)
    assert parse_item(item.model_dump_json()) == item
    return item


def refused(file: Path, folder: Path) -> Refused:
    """The error that refuses it."""
    with pytest.raises(Refused) as caught:
        read(file, folder)
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_file_is_taken_or_gets_its_sentence(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setenv("STUDIO_MARKER", str(marker))
    file = case.build(tmp_path)
    if case.honest:
        item = read(file, tmp_path / "out")
        assert {name: each.shape for name, each in load_file_of_any_type(tmp_path / "out").items()} == {
            name: facts.shape for name, facts in item.tensors.items()
        }
    else:
        error = refused(file, tmp_path / "out")
        assert case.says in str(error)
        assert str(error).isprintable()
        assert "weights_only=False" not in error.snippet
        assert error.snippet == SNIPPETS.get(case.id, error.snippet)
    assert not marker.exists()


def load_file_of_any_type(folder: Path) -> dict[str, np.ndarray]:
    """By the library of safetensors, which has no bfloat16 in numpy without help."""
    import ml_dtypes  # noqa: F401

    return load_file(folder / WEIGHTS_FILE)


def test_the_payloads_would_run(tmp_path: Path) -> None:
    """Else that no marker is left would say nothing."""
    marker = tmp_path / "marker"
    code = f"import pickle; pickle.loads({pickled(RUNS)!r})"
    subprocess.run(
        [sys.executable, "-c", code], env={"STUDIO_MARKER": str(marker), "PATH": "/usr/bin:/bin"}, check=True
    )
    assert marker.exists()


@pytest.mark.parametrize("snippet", [value for key, value in vars(snippets).items() if key.isupper()])
def test_a_snippet_is_python_in_three_lines(snippet: str) -> None:
    ast.parse(snippet)
    assert snippet.count("\n") <= 3
    assert "weights_only=False" not in snippet


def test_reading_weights_loads_nothing_that_could_run_them(tmp_path: Path) -> None:
    file = checkpoint(tmp_path, HONEST)
    code = f"""
import sys
from pathlib import Path
from core.progress import result_of
from intake.parsing.model import parse
result_of(parse(Path({str(file)!r}), Path({str(tmp_path)!r}), {{}}))
print(sorted({{"torch", "onnx", "safetensors"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_lay_beside_the_weights_is_said_and_short_texts_are_kept(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.id == "weights-honest-under-state-dict")
    item = read(case.build(tmp_path), tmp_path / "out")
    assert set(item.tensors) == {"w"}
    assert item.metadata == {"epoch": "3", "arch": "resnet18"}
    assert any("under state_dict" in note for note in item.notes)
    assert any("optimizer" in note for note in item.notes)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_prefix_is_taken_off_in_either_form(prefix: str, tmp_path: Path) -> None:
    values = {f"{prefix}conv.weight": np.ones((1, 2), "f4"), f"{prefix}conv.bias": np.zeros(1, "f4")}
    file = tmp_path / "w.safetensors"
    file.write_bytes(save(values))
    item = read(file, tmp_path / "out")
    assert set(item.tensors) == {"conv.weight", "conv.bias"}
    assert len(item.notes) == prefix.count(".")


def test_a_prefix_that_not_all_names_have_stays(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(save({"module.a": np.ones(1, "f4"), "b": np.ones(1, "f4")}))
    assert set(read(file, tmp_path / "out").tensors) == {"module.a", "b"}


def test_a_damaged_part_is_warned_about(tmp_path: Path) -> None:
    file = checkpoint(tmp_path, HONEST)
    content = bytearray(file.read_bytes())
    content[content.index(np.float32(5).tobytes())] ^= 1
    file.write_bytes(content)
    assert any("data/0" in warning and "checksum" in warning for warning in read(file, tmp_path / "out").warnings)


def test_random_damage_never_ends_in_anything_but_a_sentence(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = [checkpoint(tmp_path, HONEST).read_bytes(), pickle.dumps({"a": [1.5]}, 0), pickle.dumps({"a": {1}}, 2)]
    files.append(safetensors(tmp_path, {"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}).read_bytes())
    taken = 0
    for turn in range(300):
        content = bytearray(files[turn % len(files)])
        for place in random.integers(0, len(content), random.integers(1, 4)):
            content[place] = random.integers(256)
        (tmp_path / "damaged").write_bytes(content)
        with suppress(Refused):
            read(tmp_path / "damaged", tmp_path / "out")
            taken += 1
    assert taken


def test_no_file_that_is_cut_short_is_taken(tmp_path: Path) -> None:
    content = checkpoint(tmp_path, HONEST).read_bytes()
    for length in range(0, len(content), 5):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        assert "Cut short" in str(refused(tmp_path / "cut.pt", tmp_path / "out"))


def test_names_stay_text_whatever_they_look_like(tmp_path: Path) -> None:
    name = "<script>alert('é')</script>"
    file = checkpoint(
        tmp_path, pickled(b"}(" + b"X" + len(name.encode()).to_bytes(4, "little") + name.encode(), tensor(), b"u")
    )
    assert set(read(file, tmp_path / "out").tensors) == {name}
    assert load_file(tmp_path / "out" / WEIGHTS_FILE)[name].shape == (2, 3)
