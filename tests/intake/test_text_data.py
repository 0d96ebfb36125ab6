"""Texts and labels from tables and JSON lines, however they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadInput
from intake.text_data import read_texts

CLASSES = ("Bad", "Good")


def written(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(content.encode(encoding))
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"fine, really",good\nawful,BAD\n'),
        ("b.csv", '\ufefflabel,text\n1,"fine, really"\n0,awful\n'),
        ("c.csv", '"fine, really",Good\nawful,Bad\n'),
        ("d.csv", "text;label\nfine, really;1\nawful;0\n"),
        ("e.tsv", "id\tsentence\tclass\n7\tfine, really\t1\n8\tawful\t0\n"),
        ("f.jsonl", '{"text": "fine, really", "label": 1}\n\n{"text": "awful", "label": "Bad"}\n'),
        ("g.jsonl", '{"review": "fine, really", "target": 1.0}\n{"review": "awful", "target": 0.0}\n'),
    ],
)
def test_every_form_gives_the_same_texts_and_labels(tmp_path: Path, name: str, content: str) -> None:
    found = read_texts(written(tmp_path, name, content), CLASSES)
    assert found.texts == ("fine, really", "awful")
    assert found.labels == (1, 0)


def test_without_labels(tmp_path: Path) -> None:
    found = read_texts(written(tmp_path, "a.csv", "text\nfine\n\n \nawful\n"), CLASSES)
    assert (found.texts, found.labels, found.is_labelled, found.empty) == (("fine", "awful"), (-1, -1), False, 1)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"PK\x03\x04" + bytes(40), "a.csv is a ZIP archive.*save the table as CSV"),
        ("a.csv", "text,label\nfine,good\n".encode("utf-16"), "a.csv is binary and no text.*in UTF-8"),
        ("a.jsonl", b'{"text": "fi\0ne"}', "a.jsonl is binary and no text"),
    ],
)
def test_what_is_no_text_is_refused_before_anything_of_it_is_quoted(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says):
        read_texts(tmp_path / name, CLASSES)


def test_what_is_quoted_is_short_and_can_be_printed(tmp_path: Path) -> None:
    long = "\x1b[31m" + 5000 * "w"
    for content in (f"text,label\nfine,{long}\n", f"label,{long}\n", f"label{100 * ',column'}\n"):
        with pytest.raises(BadInput) as refused:
            read_texts(written(tmp_path, "a.csv", content), CLASSES)
        assert len(str(refused.value)) < 400
        assert str(refused.value).isprintable()


def test_an_old_encoding_is_read(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path, "a.csv", "text\ncafé\n", "latin-1"), CLASSES).texts == ("café",)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "text,label\nfine,good\nawful,terrible\n", r"a.csv, row 2 has the label 'terrible'.*Bad, Good"),
        ("a.csv", "text,label\nfine,2\n", r"row 1 has the label '2'.*from 0 to 1"),
        ("a.csv", "label,score\ngood,1\n", "the columns label, score"),
        ("a.csv", "", "holds 0 texts"),
        ("a.jsonl", "{", "line 1 is not a JSON object"),
        ("a.jsonl", '{"label": 1}', "line 1 has no text"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_texts(written(tmp_path, name, content), CLASSES)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_texts(tmp_path / "a.csv", CLASSES)
