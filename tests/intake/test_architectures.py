"""What torchvision and timm say of themselves, listed in a process of its own; never with torch in this one."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from core.errors import BadInput, Unavailable
from intake import architectures
from intake.architectures import catalogue, known, names_of_classes, why_fewer
from intake.preprocessing import IMAGENET_MEAN, IMAGENET_STD

pytestmark = pytest.mark.usefixtures("listed")


ROOT = Path(__file__).parents[2]


def test_more_than_a_thousand_architectures_of_both_libraries() -> None:
    found = catalogue()
    assert len(found) > 1000
    assert {each.library for each in found} == {"torchvision", "timm"}
    assert len({each.id for each in found}) == len(found)
    assert why_fewer() is None


def test_resnet18_is_prepared_as_torchvisions_documentation_says() -> None:
    resnet = known("torchvision", "resnet18")
    assert (resnet.classes, resnet.parameter_count) == (1000, 11_689_512)
    wanted = resnet.input
    assert (wanted.height, wanted.width, wanted.fit, wanted.interpolation) == (224, 224, "crop", "bilinear")
    assert wanted.crop_share == pytest.approx(224 / 256)
    assert wanted.mean == pytest.approx(IMAGENET_MEAN)
    assert wanted.std == pytest.approx(IMAGENET_STD)


def test_inception_scales_its_pixels_at_once_instead_of_twice() -> None:
    # torchvision maps (p - m) / s to ((p - m) / s * s + m - 0.5) / 0.5, which is (p - 0.5) / 0.5
    wanted = known("torchvision", "inception_v3").input
    assert (wanted.mean, wanted.std) == ((127.5,) * 3, (127.5,) * 3)


def test_clip_has_its_own_scaling_and_what_has_no_weights_says_so() -> None:
    clip = known("timm", "vit_base_patch16_clip_224").input
    assert clip.mean[0] == pytest.approx(0.48145466 * 255, abs=1e-3)
    assert "laion2b" in clip.source
    bare = known("timm", "vit_small_patch16_18x2_224")
    assert (bare.classes, "no weights" in bare.input.source) == (0, True)


def test_the_shipped_list_is_what_the_libraries_say(tmp_path: Path) -> None:
    from intake.listing import timm_ones, torchvision_ones

    if not (architectures.LISTED / f"{architectures.file_name()}.gz").exists():
        pytest.skip("no list is shipped for these versions of torchvision and timm")
    assert catalogue() == (*torchvision_ones(), *timm_ones())


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"torchvision has no architecture 'resnet19'.*resnet18"):
        known("torchvision", "resnet19")
    for name in ("hf-hub:someone/model", "local-dir:/etc", "../resnet18"):
        with pytest.raises(BadInput, match="has no architecture"):
            known("timm", name)


def test_the_list_is_kept_under_the_versions_and_read_without_torch() -> None:
    code = (
        "import sys; from intake.architectures import catalogue;"
        "print(len(catalogue())); assert not {'torch', 'timm'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(catalogue())
    assert f"timm-{version('timm')}" in architectures.file_name()
    assert f"torchvision-{version('torchvision')}" in architectures.file_name()


def test_without_timm_torchvision_is_enough_and_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(architectures, "_version", lambda library: "" if library == "timm" else "1")
    assert "pip install timm" in (why_fewer() or "")


def test_a_listing_that_fails_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    monkeypatch.setattr(architectures, "_ROOT", tmp_path)
    monkeypatch.setattr(architectures, "LISTED", tmp_path)
    with pytest.raises(Unavailable, match=r"could not be listed.*No module named"):
        catalogue()
    assert not list((tmp_path / "cache").iterdir())


def test_a_thousand_classes_are_imagenets() -> None:
    names = names_of_classes(1000)
    assert (len(names), names[0]) == (1000, "tench")
    assert names_of_classes(7) == ()
    assert names_of_classes(1001) == ("background", *names)
