"""Rows whose whole story is one file: what it says when it comes in."""

from __future__ import annotations

import pytest

from core.errors import Refused
from core.progress import result_of
from experiments.bringing import keep_checked
from intake import shelf
from intake.items import ImageSet
from tests.bad_inputs.bench import Bench, Row
from tests.hostile.case import Case
from tests.hostile.corpus import CORPUS
from tests.hostile.data_files import image, png, zipped

BY_ID = {case.id: case for case in CORPUS}


def cases(*ids: str) -> tuple[Case, ...]:
    """Files of the corpus."""
    return tuple(BY_ID[each] for each in ids)


def refused(name: str, ids: tuple[str, ...], *says: str) -> Row:
    """Files that are not taken."""
    files = cases(*ids)
    return Row(name, lambda bench: bench.refused(*files), says, files)


def noted(name: str, ids: tuple[str, ...], *says: str) -> Row:
    """Files that are taken, with something to say of them."""
    files = cases(*ids)
    return Row(name, lambda bench: bench.noted(*files), says, files)


def both(name: str, bad: tuple[str, ...], good: tuple[str, ...], *says: str) -> Row:
    """Files of which some are taken."""
    wrong, right = cases(*bad), cases(*good)

    def see(bench: Bench) -> str:
        return f"{bench.refused(*wrong)}\n{bench.noted(*right)}"

    return Row(name, see, says, (*wrong, *right))


def cut_short(bench: Bench) -> str:
    """An empty file never comes in from a browser; the command line hands it on."""
    said = [bench.refused(*CUT)]
    for case in EMPTY:
        with pytest.raises(Refused) as refusal:
            bench.upload(case)
        (draft := bench.folder / case.id).mkdir()
        with pytest.raises(Refused) as later:
            result_of(keep_checked("", case.wanted, bench.files.paths[case.id], draft))
        said += [str(refusal.value), str(later.value)]
    return "\n".join(said)


def one_reason_each(bench: Bench) -> str:
    """Every kind of bad header has its own line."""
    said = bench.refused(*HEADERS)
    lines = said.splitlines()
    assert len(set(lines)) > 20
    return said


def never_advises(bench: Bench) -> str:
    """Advice to load with `weights_only=False` is how such files get to run."""
    said = bench.refused(*PAGES)
    assert "weights_only" not in said
    return said


def one_of_many(bench: Bench) -> str:
    """An image of 400 megapixels, or one that is broken, is left out; where too many are, the set is not taken."""
    item = shelf.item("", bench.taken(HUGE))
    assert isinstance(item, ImageSet)
    assert item.images == 40
    return " ".join(f"{each.name}: {each.reason}" for each in item.skipped)


def broken_ones(bench: Bench) -> str:
    """Skipped, counted and listed; over 5 % nothing is taken."""
    refused = bench.refused(*MANY_BROKEN)
    item = shelf.item("", bench.taken(ONE_BROKEN))
    assert isinstance(item, ImageSet)
    assert (item.images, item.skipped_count) == (40, 1)
    return "\n".join([refused, *item.notes, *(f"{each.name}: {each.reason}" for each in item.skipped)])


def _among_forty(content: bytes) -> dict[str, bytes]:
    return {f"{'cat' if at % 2 else 'dog'}/{at}.png": image() for at in range(40)} | {"cat/huge.png": content}


EMPTY = cases("weights-foreign-empty", "data-empty-file")
CUT = cases("weights-foreign-one-byte", "weights-zip-cut-in-half", "weights-zip-cut-at-the-end", "onnx-truncated")
HEADERS = tuple(case for case in CORPUS if case.id.startswith("weights-header-"))
PAGES = cases("weights-foreign-web-page", "weights-foreign-xhtml")
HUGE = Case("data-huge-among-forty", "data", zipped(_among_forty(png(20_000, 20_000))), "")
(ONE_BROKEN,) = cases("data-one-broken-of-forty")
MANY_BROKEN = cases("data-jpeg-cut")

ROWS: dict[int, Row] = {
    1: refused(
        "zip pickle calling os.system", ("weights-code-os-system", "weights-code-os-system-as-a-weight"),
        "posix.system", "would run code",
    ),
    2: refused(
        "legacy, tar and bare pickle", ("weights-foreign-legacy", "weights-foreign-tar", "weights-foreign-bare"),
        "Old or foreign pickle", "Save it again", "torch.save(weights",
    ),
    3: refused(
        "whole pickled module", ("weights-code-whole-module", "weights-code-whole-module-of-ones-own"),
        "torchvision.models.resnet.ResNet", "__main__.Net", "network.state_dict()",
    ),
    4: refused("TorchScript", ("weights-zip-torchscript",), "is a program, not weights", "torch.onnx.export("),
    5: refused("pt2", ("weights-zip-exported",), "is a program, not weights", "torch.onnx.export("),
    6: refused("sparse tensor with false indices", ("weights-lie-sparse",), "is sparse", "FP32, FP16 or BF16"),
    7: refused("huge bytearray", ("weights-lie-bytearray-of-12-GiB",), "pickle in it is damaged"),
    8: refused(
        "tensor larger than its storage", ("weights-lie-tensor-larger", "weights-lie-expanded"),
        "Tensor says more than the file holds: 1048576 x 1048576 values",
    ),
    9: refused("deflated pt", ("weights-zip-deflated",), "is compressed", "ZIP_STORED"),
    10: Row("web page named pt", never_advises, ("Not a checkpoint: a web page", "Download the file itself"), PAGES),
    11: Row(
        "empty and truncated files", cut_short,
        ("is empty (0 bytes)", "Cut short: 0 bytes", "Cut short: 1 byte", "Cut short: 700 bytes"), (*CUT, *EMPTY),
    ),
    12: Row(
        "safetensors with a bad header", one_reason_each,
        ("Cut short", "not JSON", "UTF-8", "two entries named a", "of the type F31", "gap", "overlap", "metadata",
         "ends before it begins", "no shape"), HEADERS,
    ),
    16: refused(
        "NaN weights", ("weights-header-not-finite", "onnx-weight-nan"),
        "layer fc.weight has values that are not finite: 2 NaN of 6", "conv.weight holds NaN",
    ),
    17: refused(
        "infinite weights", ("weights-header-infinite", "onnx-weight-infinite"),
        "layer fc.weight has values that are not finite: 1 infinite of 6", "conv.weight holds infinite numbers",
    ),
    18: both(
        "complex and float64 weights", ("weights-lie-complex", "onnx-weight-complex"),
        ("weights-honest-doubles", "onnx-float64-throughout"),
        "a has complex numbers", "were in FP64: they were rounded to FP32",
        "float64 weights are kept, and computed, as float32",
    ),
    20: refused(
        "ONNX with external data", ("onnx-external", "onnx-external-passwd", "onnx-external-in-branch"),
        "Save as one file", "save_as_external_data=False",
    ),
    21: refused("ONNX custom operator", ("onnx-own-domain",), "operator of the domain evil.<script>"),
    22: refused(
        "ONNX loop and function bomb", ("onnx-loop", "onnx-function-bomb"),
        "Loop for_ever is a loop", "is a function that the file defines itself",
    ),
    23: refused(
        "ONNX constant bomb", ("onnx-bomb-constant-of-shape",),
        "1,208,925,819,614,629,174,706,176 numbers; expected at most",
    ),
    24: refused("ONNX opset too new", ("onnx-opset-too-new",), "uses opset 99; expected opset 28"),
    26: refused(
        "zip with .. and links", ("data-parent-folder", "data-link", "weights-zip-link", "weights-zip-name-upwards"),
        "The entry ../../evil.png leads out of the zip", "The entry cat/evil.png is a link", "leads elsewhere",
    ),
    27: refused(
        "zip bomb and 70,000 entries", ("data-ratio", "data-total", "data-70000-entries"),
        "has 19.0 KiB and would unpack to 19.1 MiB", "would unpack to 34.4 GiB; expected at most 32.0 GiB",
        "70,000 entries; expected at most 60,000",
    ),
    28: both(
        "zip without class folders", ("data-only-texts",), ("data-plain",),
        "├── cats/  1.jpg  2.jpg", "put each class into a folder of its own (cats/1.jpg, dogs/1.jpg)",
    ),
    29: refused(
        "empty data set", ("data-empty-zip", "data-no-rows"), "0 images: photos.zip holds", "0 images: x has no rows",
    ),
    31: Row("400-megapixel image", one_of_many, ("cat/huge.png: more than 100 megapixels",), (HUGE,)),
    32: Row(
        "broken images", broken_ones,
        ("1 of 41 images is broken or missing; it is skipped", "cat/0.jpg: ", "1 of 2 images cannot be read",
         "at most 5%"),
        (ONE_BROKEN, *MANY_BROKEN),
    ),
    34: noted(
        "RGBA, palette, CMYK and 16-bit images", ("data-rgba", "data-palette", "data-cmyk", "data-16-bit"),
        "4 of 4 images are RGBA; they are laid onto white", "from a palette; they are converted to RGB",
        "CMYK; they are converted to RGB", "16-bit; they are scaled to 8 bits",
    ),
    35: both(
        "other layouts, no batch axis and other types",
        ("onnx-no-batch-axis", "onnx-integer-input", "data-single-image"), ("onnx-nhwc-keras", "onnx-uint8-normalises"),
        "float32 of 3 × 32 × 32, without a batch axis; expected one input, batch × channels × height × width, of float",
        "takes int64 of 1 × 3 × 32 × 32",
        "x has the shape [6, 5, 3] and the type uint8; expected x of uint8 [N, H, W, C]",
        "It took images as NHWC, and takes them as NCHW now", "as uint8, and takes the same numbers as float32 now",
    ),
}  # fmt: skip
