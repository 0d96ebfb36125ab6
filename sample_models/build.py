"""Train the sample models and compute their cards: `python -m sample_models.build [keys...]`.

The networks learn from the 60,000 official training images of Fashion-MNIST, without those that the studio holds back
for calibration or testing. Look for the images in `--data`, where Debian's package `dataset-fashion-mnist` puts them;
torchvision downloads them otherwise. One seed, one process: on a CPU the same machine, thread count and library
versions give the same weights again. Accuracy is counted on the CPU in fp32 whatever the network was trained on.
On a GPU everything takes minutes; on one CPU core the ResNet alone takes about an hour. The network of Keras is trained
in TensorFlow's environment (`build_keras`), on the CPU in a few minutes.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from core.data import Labels, Pixels, Split
from core.macs import count_macs
from core.progress import Event, Progress
from sample_models import build_keras, datasets, networks, registry
from sample_models.model_card import ModelCard, write_card
from sample_models.training import Recipe, count_correct, seeded, train

DEBIAN = Path("/usr/share/datasets/fashion-mnist")

RECIPES: dict[str, Recipe] = {
    "resnet_fmnist": Recipe("sgd", epochs=10, max_lr=0.15, weight_decay=5e-4),
    "dwcnn_fmnist": Recipe("sgd", epochs=30, max_lr=0.15, weight_decay=1e-4),
    "vit_fmnist": Recipe("adamw", epochs=40, max_lr=2e-3, weight_decay=0.05, label_smoothing=0.1),
    "student_cnn_fmnist": Recipe("sgd", epochs=20, max_lr=0.15, weight_decay=1e-4),
    "student_dw_fmnist": Recipe("sgd", epochs=20, max_lr=0.15, weight_decay=1e-4),
}


def main(arguments: list[str] | None = None) -> None:
    """Build the models named on the command line, or all of them."""
    options = _parse(arguments)
    for key in options.keys or registry.MODELS:
        if key in RECIPES:
            build(key, read_training_set(options.data), device=options.device, seed=options.seed)
        elif key in build_keras.RECIPES:
            for event in build_keras.build(key, read_training_set(options.data), seed=options.seed):
                _show_progress(key, event)
        else:
            write_card(compute_card(key))
        card = registry.card(key)
        print(f"{key}: {card.correct} of {card.test_images} right ({card.accuracy:.2%})")


def build(key: str, data: Split, *, device: str, seed: int) -> None:
    """Train one model, then write its weights and its card."""
    recipe, started = RECIPES[key], time.monotonic()
    with seeded(seed):
        network = networks.untrained(key)
        train(network, data, registry.contract(key), recipe, device=device, on_step=_progress_line(key))
    networks.save(key, network)
    card = compute_card(
        key,
        epochs=recipe.epochs,
        train_images=len(data),
        seed=seed,
        train_s=round(time.monotonic() - started, 1),
        recipe=str(recipe),
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU",
    )
    write_card(card)


def compute_card(
    key: str,
    *,
    epochs: int | None = None,
    train_images: int | None = None,
    seed: int | None = None,
    train_s: float | None = None,
    recipe: str = "Published weights, unchanged",
    device: str = "CPU",
) -> ModelCard:
    """The card of the stored weights: everything countable is counted here, on the CPU."""
    bundle = registry.load(key)
    return ModelCard(
        key=key,
        parameter_count=sum(parameter.numel() for parameter in bundle.module.parameters()),
        macs=count_macs(bundle.module, bundle.contract),
        size_bytes=networks.size_bytes(key),
        correct=count_correct(bundle.module, bundle.data.test, registry.contract(key)),
        test_images=len(bundle.data.test),
        epochs=epochs,
        train_images=train_images,
        seed=seed,
        train_s=train_s,
        recipe=recipe,
        device=device,
        library=f"torch {torch.__version__}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def read_training_set(folder: Path) -> Split:
    """The official training images that are in neither the calibration nor the test set of the studio."""
    with tempfile.TemporaryDirectory() as download:
        images = _idx_folder(folder, Path(download))
        pixels = _read_idx(images / "train-images-idx3-ubyte.gz", header_bytes=16).reshape(-1, 1, 28, 28)
        labels = _read_idx(images / "train-labels-idx1-ubyte.gz", header_bytes=8).astype(np.int64)
    bundled = datasets.fashion_mnist()
    held_out = {image.tobytes() for split in (bundled.calibrate, bundled.test) for image in split.pixels}
    kept: Labels = np.flatnonzero([image.tobytes() not in held_out for image in pixels])
    return Split(pixels[kept], labels[kept, None])


def _idx_folder(folder: Path, download: Path) -> Path:
    if (folder / "train-images-idx3-ubyte.gz").exists():
        return folder
    from torchvision.datasets import FashionMNIST

    return Path(FashionMNIST(download, download=True).raw_folder)


def _read_idx(path: Path, *, header_bytes: int) -> Pixels:
    """The uint8 body of a gzipped IDX file, http://yann.lecun.com/exdb/mnist."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)


def _progress_line(key: str) -> Callable[[int, int, torch.Tensor], None]:
    started = shown = time.monotonic()

    def show(step: int, total: int, loss: torch.Tensor) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > 1 or step == total:
            shown, left = now, (now - started) / step * (total - step)
            end = "\n" if step == total else ""
            print(
                f"\r{key}: {step}/{total} steps, loss {loss.item():.3f}, {left:.0f} s left   ",
                end=end,
                file=sys.stderr,
                flush=True,
            )

    return show


def _show_progress(key: str, event: Event) -> None:
    if isinstance(event, Progress):
        end = "\n" if event.done == event.total else ""
        line = f"\r{key}: {event.done:g}/{event.total:g} {event.unit}, {event.doing}   "
        print(line, end=end, file=sys.stderr, flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sample_models.build", description="Train the sample models.")
    parser.add_argument("keys", nargs="*", metavar="key", help=f"any of {', '.join(registry.MODELS)}; all without one")
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder with the Fashion-MNIST idx.gz files")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if unknown := set(options.keys) - set(registry.MODELS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected any of {', '.join(registry.MODELS)}")
    return options


if __name__ == "__main__":
    main()
