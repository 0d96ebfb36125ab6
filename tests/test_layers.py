"""The import direction of the house, and what the process that draws must never load."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEVELS = {
    "core": 0,
    "bridges": 1,
    "optimizers": 2,
    "runtimes": 2,
    "profiling": 2,
    "sample_models": 2,
    "intake": 2,
    "experiments": 3,
    "ui": 4,
    "pages": 5,
    "app": 5,
    "cli_bring": 5,
    "cli": 6,
}
FILES = sorted(path for layer in LEVELS for path in (*ROOT.glob(f"{layer}.py"), *ROOT.glob(f"{layer}/**/*.py")))
BELOW_UI = [path for path in FILES if LEVELS[path.relative_to(ROOT).parts[0].removesuffix(".py")] < LEVELS["ui"]]
GPU_TESTS = sorted((ROOT / "tests" / "gpu").glob("test_*.py"))
PAGES = sorted((ROOT / "pages").glob("*.py"))


def name_of(path: Path) -> str:
    """`core.errors` for core/errors.py, `core` for core/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            yield str(node.module)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_layer_imports_only_what_is_below_it(path: Path) -> None:
    layer = name_of(path).partition(".")[0]
    for module in imported(path):
        other = module.partition(".")[0]
        if other in LEVELS and other != layer:
            assert LEVELS[other] < LEVELS[layer], f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", BELOW_UI, ids=name_of)
def test_nothing_below_ui_imports_streamlit_or_plotly(path: Path) -> None:
    assert {module.partition(".")[0] for module in imported(path)}.isdisjoint({"streamlit", "plotly"})


def run_python(code: str, data: Path) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"STUDIO_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_below_ui_imports_without_streamlit_and_plotly(tmp_path: Path) -> None:
    names = [name_of(path) for path in BELOW_UI]
    code = f"""
import importlib, sys
sys.modules["streamlit"] = sys.modules["plotly"] = None
for name in {names}:
    importlib.import_module(name)
print("imported", len({names}))
"""
    assert f"imported {len(names)}" in run_python(code, tmp_path)


@pytest.mark.parametrize("path", GPU_TESTS, ids=name_of)
def test_what_needs_a_gpu_imports_without_one(path: Path) -> None:
    """Nothing else of it runs on most machines."""
    importlib.import_module(name_of(path))


def test_drawing_every_page_loads_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
frame = AppTest.from_file("ui/main.py", default_timeout=60).run()
for path in {[str(path) for path in PAGES]}:
    frame.switch_page(path).run()
    assert frame.title and not frame.exception and not frame.error, (path, frame.exception, frame.error)
    assert "torch" not in sys.modules, path
print("drew", {len(PAGES)})
"""
    assert f"drew {len(PAGES)}" in run_python(code, tmp_path)
