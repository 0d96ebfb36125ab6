"""Writes what torchvision and timm know as JSON: `python -m intake.listing`. Imports torch: a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

from core.data import Fit, Interpolation
from intake.architectures import LIST, KnownArchitecture
from intake.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

WITH_OWN_SCALING = ("googlenet", "inception_v3")
"""torchvision's networks that turn pixels scaled for ImageNet into ones between -1 and 1 before anything else, where
they have its weights. Here they never do: the pixels are scaled like that at once, which is the same."""
_FITS: dict[str, Fit] = {"center": "crop", "squash": "squash", "border": "pad"}
_INTERPOLATIONS: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
_HALF = (127.5, 127.5, 127.5)


def main() -> None:
    """Print the list."""
    sys.stdout.write(LIST.dump_json((*torchvision_ones(), *timm_ones()), exclude_defaults=True).decode())


def torchvision_ones() -> Iterator[KnownArchitecture]:
    """torchvision's classifiers, with what their best weights say."""
    from torchvision import models

    for name in models.list_models(module=models):
        weights = models.get_model_weights(name).DEFAULT
        yield KnownArchitecture(
            library="torchvision",
            name=name,
            classes=len(weights.meta["categories"]),
            parameter_count=weights.meta["num_params"],
            input=torchvision_input(name, weights),
        )


def torchvision_input(name: str, weights: Any) -> Preprocessing:
    """How images are prepared for these weights of torchvision."""
    steps = weights.transforms()
    side, resized = steps.crop_size[0], steps.resize_size[0]
    own = name in WITH_OWN_SCALING
    return Preprocessing(
        height=side,
        width=side,
        crop_share=min(1.0, side / resized),
        interpolation=_INTERPOLATIONS[steps.interpolation.value],
        mean=_HALF if own else _bytes(steps.mean),
        std=_HALF if own else _bytes(steps.std),
        source=f"torchvision, for its weights {weights.name}",
    )


def timm_ones() -> Iterator[KnownArchitecture]:
    """timm's networks, with what their usual weights say; none where timm is not installed."""
    try:
        import timm
    except ImportError:
        return
    for name in timm.list_models():
        config = timm.get_pretrained_cfg(name)
        yield KnownArchitecture(
            library="timm",
            name=name,
            classes=config.num_classes if config and config.has_weights else 0,
            input=timm_input(config) if config else Preprocessing(),
        )


def timm_input(config: Any) -> Preprocessing:
    """How images are prepared for what a configuration of timm describes."""
    channels, height, width = config.input_size
    weights = f"timm, for its weights {config.tag}" if config.tag else "timm, for its weights"
    is_usual = channels == 3 and len(config.mean) == 3
    return Preprocessing(
        height=height,
        width=width,
        fit=_FITS.get(config.crop_mode, "crop"),
        crop_share=min(1.0, config.crop_pct),
        interpolation=_INTERPOLATIONS.get(config.interpolation, "bicubic"),
        mean=_bytes(config.mean) if is_usual else IMAGENET_MEAN,
        std=_bytes(config.std) if is_usual else IMAGENET_STD,
        source=weights if config.has_weights else "timm, which has no weights for it to download",
    )


def _bytes(values: tuple[float, ...]) -> tuple[float, ...]:
    """From the scale 0-1 to that of pixels."""
    return tuple(round(255 * value, 4) for value in values)


if __name__ == "__main__":
    main()
