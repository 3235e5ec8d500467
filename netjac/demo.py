"""`netjac demo`: a small Keras network trained on handwritten digits, and its Jacobian: planned, checked, pictured.

Every number is of this very run: the digits are scikit-learn's (1,797 of 8 × 8 pixels), a quarter of them held out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.check import Check
from netjac.jacobian import jacobian
from netjac.operator import Jacobian
from netjac.report.page.report import report
from netjac.report.plots import class_maps, heat_map, image_maps, save
from netjac.report.terminal import show_maps
from netjac.tracing import network

if TYPE_CHECKING:
    from rich.console import Console

HELD_OUT, BATCH = 450, 16
EPOCHS, QUICK_EPOCHS = 20, 12


@dataclass(frozen=True)
class Demo:
    """What the demo found, and the files it wrote."""

    accuracy: float
    backend: str
    check: Check
    files: tuple[Path, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "accuracy": self.accuracy,
            "backend": self.backend,
            "check": self.check.to_dict(),
            "files": [str(file) for file in self.files],
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, eq=False)
class Digits:
    """Images (samples, 8, 8, 1) from 0 (paper) to 1 (ink), and which digits they are."""

    images: np.ndarray
    labels: np.ndarray

    def some(self, chosen: Any) -> Digits:
        return Digits(self.images[chosen], self.labels[chosen])


def demo(folder: Path, console: Console, quick: bool = False) -> Demo:
    """Train, differentiate, check and picture; files go to `folder`, the story to the console."""
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    say = _storyteller(console)
    model, held_out, backend = trained(QUICK_EPOCHS if quick else EPOCHS)
    accuracy = float(np.mean(predicted(model, held_out.images) == held_out.labels))
    say("1  The network", f"Keras on {backend}, trained in {time.perf_counter() - start:.1f} s with its import.")
    say(None, f"{accuracy:.1%} of the {HELD_OUT} images that it has not seen are recognised.\n")

    batch = held_out.some(slice(BATCH))
    net = network(model, batch.images)
    say(None, repr(net))
    J = jacobian(net, batch.images)
    say("2  The plan for ∂logits/∂pixels", str(J.plan))
    began = time.perf_counter()
    J.to_jax()
    say("3  The Jacobian", f"computed in {time.perf_counter() - began:.2f} s, compilation included\n\n{J!r}")
    check = J.check()
    say("4  The check", str(check))
    everywhere = np.asarray(jacobian(net, held_out.images))[..., 0]
    _show_sample(J, batch, console)
    files = _written(folder, model, batch, J, check, held_out, everywhere)
    _show_classes(held_out, everywhere, console)
    seconds = time.perf_counter() - start
    listed = "\n".join(f"  {file}" for file in files)
    say(
        "7  The files",
        f"{listed}\n\nDone in {seconds:.1f} s. Go on with:\n  netjac check {files[0]} {files[1]} --of conv2",
    )
    return Demo(accuracy, backend, check, files, seconds)


def _storyteller(console: Console) -> Callable[[str | None, str], None]:
    def say(head: str | None, text: str) -> None:
        if head is not None:
            console.print(f"\n{head}", style="bold", markup=False, highlight=False)
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    return say


def trained(epochs: int) -> tuple[Any, Digits, str]:
    """The network after so many epochs, the held-out digits, and the name of Keras's backend.

    This is for a process of its own: it chooses Keras's backend (JAX, unless the environment says otherwise) and seeds.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    digits = Digits((loaded.images / 16).astype(np.float32)[..., None], loaded.target).some(order)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(32, 3, activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, name="logits"),
        ],
        name="digits",
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    seen = digits.some(slice(HELD_OUT, None))
    model.fit(seen.images, seen.labels, batch_size=32, epochs=epochs, verbose=0)
    return model, digits.some(slice(HELD_OUT)), keras.backend.backend()


def predicted(model: Any, images: np.ndarray) -> np.ndarray:
    """The digit with the largest logit, for each image."""
    return np.asarray(model.predict(images, verbose=0)).argmax(-1)


def _show_sample(J: Jacobian, batch: Digits, console: Console) -> None:
    console.print("\n5  What moves the logits of the first image", style="bold", highlight=False)
    maps = np.asarray(J)[0, ..., 0]
    label = int(batch.labels[0])
    others = [i for i in np.argsort(-np.abs(maps).max((1, 2))) if i != label][:2]
    names = [f"the image, a {label}", f"∂ logit {label}", *(f"∂ logit {i}" for i in others)]
    top = np.abs(maps).max()
    show_maps([batch.images[0, ..., 0] * top, maps[label], *maps[others]], names, console)


def _show_classes(held_out: Digits, everywhere: np.ndarray, console: Console) -> None:
    console.print("\n6  How much each pixel moves a class's logit, over all its images", style="bold", highlight=False)
    of_class = [np.sqrt(np.mean(everywhere[held_out.labels == c, c] ** 2, 0)) for c in range(10)]
    show_maps(of_class, [f"∂ logit {c}" for c in range(10)], console)


def _written(
    folder: Path, model: Any, batch: Digits, J: Jacobian, check: Check, held_out: Digits, everywhere: np.ndarray
) -> tuple[Path, ...]:
    from netjac.commands.given import as_json

    names = ("digits.keras", "digits.npy", "jacobian.npz", "plan.txt", "check.json")
    files = [folder / name for name in (*names, "jacobian.png", "matrix.png", "sensitivity.png", "report.html")]
    model.save(files[0])
    np.save(files[1], batch.images)
    np.savez(files[2], jacobian=J.to_numpy(), images=batch.images, labels=batch.labels)
    files[3].write_text(f"{J.plan}\n", encoding="utf-8")
    files[4].write_text(as_json(check.to_dict()) + "\n", encoding="utf-8")
    digit, maps = batch.images[0, ..., 0], np.asarray(J)[0, ..., 0]
    title = f"∂logits/∂pixels of one image, a {batch.labels[0]}"
    save(image_maps(maps, title, [f"∂ logit {i}" for i in range(10)], digit), files[5])
    save(heat_map(maps.reshape(10, 64), f"{title}, as a matrix", "logits", "pixels"), files[6])
    title = "∂ logit of each digit / ∂ pixels, over its held-out images"
    save(class_maps(held_out.images[..., 0], held_out.labels, everywhere, title), files[7])
    classes = [str(digit) for digit in range(10)]
    report(model, held_out.images, held_out.labels, files[8], output_names=classes, progress=False)
    return tuple(files)
