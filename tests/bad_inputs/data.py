"""Rows about images and names, and whether they belong to the network."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments import models
from experiments.jobs import AddOrder, DataChoice, Job
from experiments.recipe import Recipe
from intake import shelf
from intake.items import Graph
from intake.library import own_models
from intake.preprocessing import of_graph
from intake.sources import OnnxFile
from tests.bad_inputs.bench import Bench, Row
from tests.bad_inputs.files import cases
from tests.experiments.brought import image_zip, onnx_file
from tests.hostile.case import Case
from tests.hostile.data_files import image, saved, zipped
from tests.pages.left_behind import finished
from ui.tables import to_csv

NAMES = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "<script>alert(1)</script>")


def added(bench: Bench, data: Case, **changes: object) -> Job:
    """The job that adds the network of three classes with these images."""
    item, images = bench.taken(NET), bench.taken(data)
    graph = shelf.item("", item)
    assert isinstance(graph, Graph)
    choice = DataChoice(item=images, calibrate_share=0.5)
    order = AddOrder(title="Means", source=OnnxFile(item=item), input=of_graph(graph), data=choice)
    return bench.ordered(order.model_copy(update=changes))


def not_added(bench: Bench, *data: Case) -> str:
    """What is said where images do not belong to the network; no model is left."""
    said = []
    for case in data:
        job = added(bench, case)
        assert (job.state, own_models()) == ("failed", [])
        said.append(job.sentence)
    return "\n".join(said)


def strange_names(bench: Bench) -> str:
    """Names are text on pages and in charts, and no formula in a spreadsheet."""
    for case in (NET, MARKED_WEIGHTS, MARKED_IMAGES):
        bench.taken(case)
    for name in NAMES:
        finished(bench.store, Recipe(model="resnet_fmnist", name=name))
    pages = [bench.visit("bring"), bench.visit("runs")]
    said = "\n".join(bench.shown(page) for page in pages)
    assert "<script>" not in said
    table = to_csv(pd.DataFrame({"=name": NAMES, "value": range(len(NAMES))}))
    assert [line[0] for line in table.splitlines()[1:5]] == ["'"] * 4
    return f"{said}\n{table}"


def one_class(bench: Bench) -> str:
    """It runs, with a warning."""
    job = added(bench, ONE_CLASS)
    assert job.state == "finished", job.sentence
    assert models.load(str(job.result["model"])).data.test.targets.tolist() == [1, 1, 1]
    return bench.noted(ONE_CLASS)


def grayscale(bench: Bench) -> str:
    """The page offers the conversion, and the images are converted."""
    bench.taken(NET)
    bench.taken(GRAY)
    said = bench.shown(bench.visit("bring"))
    job = added(bench, GRAY)
    assert job.state == "finished", job.sentence
    pixels = models.load(str(job.result["model"])).data.test.pixels
    assert pixels.shape[1] == 3
    assert np.array_equal(pixels[:, :1].repeat(3, axis=1), pixels)
    return said


def not_normalised(bench: Bench) -> str:
    """Pixels of 0 to 255 where a network was trained on about 0 and 1."""
    bench.taken(NET)
    bench.taken(COLOURED)
    page = bench.visit("bring")
    assert "Most networks were trained on a mean near 0" not in bench.shown(page)
    for label, value in (("Mean", "0"), ("Deviation", "1")):
        page = next(each for each in page.text_input if each.label == label).set_value(value).run()
    return f"{bench.upload(NORMALISED).sentence}\n{bench.shown(page)}"


NET = Case("onnx-of-3-classes", "model", onnx_file, "")
COLOURED = Case("data-of-3-colours", "data", image_zip, "")
GRAY = Case("data-gray-of-3-classes", "data", zipped({f"{at % 3}/{at}.png": image(mode="L") for at in range(12)}), "")
ONE_CLASS = Case("data-of-one-class", "data", zipped({f"1/{at}.png": image() for at in range(6)}), "")
(NORMALISED,) = cases("data-normalised")
(MARKED_WEIGHTS,) = cases("weights-honest-names-as-markup")
(MARKED_IMAGES,) = cases("data-strange-names")
WRONG_LABELS = cases("data-float-labels", "data-table-half-label")
PIXELS = np.random.default_rng(0).integers(0, 256, (1000, 4, 4, 3), np.uint8)
LABEL_7 = Case("data-with-label-7", "data", saved(x=PIXELS[:8], y=np.arange(8) % 2 * 7), "")
THOUSAND = Case("data-of-1000-classes", "data", saved(x=PIXELS, y=np.arange(1000)), "")
ROWS: dict[int, Row] = {
    25: Row(
        "names with HTML or formulas", strange_names,
        ("\\<script\\>alert\\(1\\)\\<", "'=name", "'=cmd|' /C calc'!A0", "'@SUM(1)"),
        (NET, MARKED_WEIGHTS, MARKED_IMAGES),
    ),
    30: Row("one class only", one_class, ("There is one class only, 1, so accuracy means nothing",), (NET, ONE_CLASS)),
    33: Row(
        "grayscale images for an RGB model", grayscale,
        ("The images are grayscale and the network expects colour", "their one channel is repeated in all three"),
        (NET, GRAY),
    ),
    36: Row(
        "0 to 255 where normalised is expected", not_normalised,
        ("Prepared like this, the network gets numbers with a mean of", "Most networks were trained on a mean near 0",
         "x holds numbers from -2", "Save the images as they were before they were normalised"),
        (NET, COLOURED, NORMALISED),
    ),
    37: Row(
        "labels that are no class", lambda bench: f"{bench.refused(*WRONG_LABELS)}\n{not_added(bench, LABEL_7)}",
        ("y, row 5 has the label 1.5", "labels.csv, row 2: the label 0.5 is no class",
         "There is the label 7 in data.npz, and the network has 3 classes; expected labels from 0 to 2"),
        (NET, *WRONG_LABELS, LABEL_7),
    ),
    38: Row(
        "1000-class labels on a 3-class model", lambda bench: not_added(bench, THOUSAND),
        ("There is the label 999 in data.npz, and the network has 3 classes",), (NET, THOUSAND),
    ),
}  # fmt: skip
