"""Every `.tflite` file of the corpus, and what is kept of those that are taken."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from core.errors import Refused
from core.progress import result_of
from core.tflite_rewriting import INPUT, OUTPUT, SIGNATURE
from intake.items import TFLITE_FILE, TfliteFile
from intake.parsing.model import parse
from intake.parsing.tflite_trial import Trial
from tests.hostile.case import Case
from tests.hostile.tflites import CASES, changed, first, graph, packed, plain, read, taken


def parsed(file: Path, folder: Path) -> TfliteFile:
    folder.mkdir(exist_ok=True)
    return TfliteFile.model_validate(result_of(parse(file, folder, {})))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_file_is_taken_or_gets_its_sentence(case: Case, tmp_path: Path) -> None:
    file = case.build(tmp_path)
    if case.honest:
        assert parsed(file, tmp_path / "out").classes == 3
        assert (tmp_path / "out" / TFLITE_FILE).read_bytes()[4:8] == b"TFL3"
    else:
        with pytest.raises(Refused, match=r"[.]$") as caught:
            parsed(file, tmp_path / "out")
        assert case.says in str(caught.value)
        assert str(caught.value).isprintable()
        assert not list((tmp_path / "out").iterdir())


def test_the_facts_are_those_of_the_network(tmp_path: Path) -> None:
    found = parsed(plain(tmp_path, taken("plain")), tmp_path / "out")
    assert (found.height, found.width, found.channels, found.layout, found.dtype) == (8, 8, 3, "NHWC", "float32")
    assert found.operators == {"CONV_2D": 1, "MUL": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    assert found.parameter_count == 3 * 3 * 3 * 4 + 4 + 4 + 4 * 3  # a bias of zeros is left out by the converter
    assert found.macs == 6 * 6 * 4 * 27 + 4 * 3
    assert (found.quantized, found.largest_batch, found.answers) == (False, 0, "logits")


@pytest.mark.parametrize("name", ["plain", "int8", "uint8"])
def test_the_softmax_is_taken_off_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    found = parsed(plain(tmp_path, taken(name)), tmp_path / "out")
    assert "SOFTMAX" not in found.operators
    assert found.quantized == (name != "plain")
    rng = np.random.default_rng(7)
    x = rng.random((5, 8, 8, 3), np.float32) if found.dtype == "float32" else rng.integers(0, 256, (5, 8, 8, 3), "u1")
    wanted = Trial(taken(name)).answers(x, together=False)
    logits = Trial((tmp_path / "out" / TFLITE_FILE).read_bytes()).answers(x, together=True)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(shares - wanted).max() < (1e-5 if name == "plain" else 0.02)


def test_an_input_of_8_bits_tells_what_its_steps_stand_for(tmp_path: Path) -> None:
    found = parsed(plain(tmp_path, taken("uint8")), tmp_path / "out")
    grid = graph(read(taken("uint8"))).tensors[int(graph(read(taken("uint8"))).inputs[0])].quantization
    assert (found.dtype, found.scale, found.zero_point) == ("uint8", float(grid.scale[0]), int(grid.zeroPoint[0]))


def test_what_is_kept_has_one_signature_and_nothing_that_no_operator_uses(tmp_path: Path) -> None:
    model = read(taken("plain"))
    secret = b"a text that somebody put there " * 9
    model.description = b"of somebody"
    model.buffers[0].data = np.frombuffer(secret, np.uint8)
    parsed(plain(tmp_path, packed(model)), tmp_path / "out")
    kept = (tmp_path / "out" / TFLITE_FILE).read_bytes()
    (signature,) = read(kept).signatureDefs
    assert signature.signatureKey == SIGNATURE.encode()
    assert [each.name.decode() for each in (*signature.inputs, *signature.outputs)] == [INPUT, OUTPUT]
    assert b"somebody" not in kept
    assert not read(kept).metadata


def test_a_softmax_before_another_output_stays_and_is_said(tmp_path: Path) -> None:
    def sigmoid(model: object) -> None:
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        last = graph(model).operators[-1]
        kind = model.operatorCodes[last.opcodeIndex]  # type: ignore[attr-defined]
        kind.builtinCode = kind.deprecatedBuiltinCode = BuiltinOperator.LOGISTIC
        last.builtinOptionsType, last.builtinOptions = 0, None

    found = parsed(changed(sigmoid)(tmp_path), tmp_path / "out")
    assert found.answers == "probabilities"
    assert "sigmoid" in found.notes[0]


def test_a_small_file_cannot_claim_much(tmp_path: Path) -> None:
    model = read(taken("plain"))
    graph(model).operators += [first(model)] * 30_000
    with pytest.raises(Refused, match=r"30,00\d operators"):
        parsed(plain(tmp_path, packed(model)), tmp_path / "out")


def test_random_damage_never_ends_in_anything_but_a_sentence(tmp_path: Path) -> None:
    """In what describes the network: engines are asked in the sandbox only, as a file may crash them."""
    from intake.parsing import tflite_checks
    from intake.parsing.tflite import _read
    from intake.parsing.tflite_scan import in_words, scanned

    random, honest, good = np.random.default_rng(0), taken("int8"), 0
    for _ in range(400):
        content = bytearray(honest)
        for place in random.integers(0, len(content), random.integers(1, 5)):
            content[place] = random.integers(256)
        with suppress(Refused):
            found = scanned(bytes(content))
            with in_words():
                tflite_checks.check(_read(found, bytes(content)))
            good += 1
    assert 0 < good < 400
