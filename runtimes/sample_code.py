"""The program that people take home with an artifact."""

from __future__ import annotations

from runtimes.runtime import Artifact

MOST_LINES = 40
THREADS = 'int(os.environ.get("OMP_NUM_THREADS", 0))  # 0 takes one for each core'
"""How the engines that are told their threads are told them; PyTorch reads the same variable by itself."""

_PROGRAM = """# Classify images with {file}: the files named as arguments or, without any, the images of samples.npz.
{system}
from pathlib import Path

import numpy as np
{imports}
from PIL import Image

HERE = Path(__file__).parent
CONTRACT = json.loads((HERE / "contract.json").read_text())
CHANNELS, HEIGHT, WIDTH = CONTRACT["shape"]
MEAN, STD = (np.float32(CONTRACT[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
{engine}
def pixels(file):
    image = Image.open(file).convert("L" if CHANNELS == 1 else "RGB").resize((WIDTH, HEIGHT))
    return np.asarray(image).reshape(HEIGHT, WIDTH, CHANNELS).transpose(2, 0, 1)

def classify(images):
    scores = logits((images - MEAN) / STD)
    return np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))

if __name__ == "__main__":
    samples = None if sys.argv[1:] else np.load(HERE / "samples.npz")
    confidences = classify(samples["pixels"] if samples else np.stack([pixels(path) for path in sys.argv[1:]]))
    for index, row in enumerate(confidences):
        print(f"{{index}}: {{CONTRACT['labels'][row.argmax()]}} ({{row.max():.1%}})")
    if samples:
        print(f"{{(confidences.argmax(1) == samples['labels']).mean():.1%}} of {{len(confidences)}} images right")
"""


def sample_code(artifact: Artifact, *, imports: str, engine: str) -> str:
    """The program around `engine`, source that defines `logits(x)`: float32 [N, classes] for x[N, C, H, W].

    It can be imported as well: `pixels(file)` is uint8 [C, H, W], `classify(images)` the confidences [N, classes] of
    uint8 [N, C, H, W]. Where the engine needs them it gets the module `os` beside what it imports.
    """
    needed = ("json", "os", "sys") if "os." in engine else ("json", "sys")
    system = "\n".join(f"import {name}" for name in needed)
    return _PROGRAM.format(file=artifact.files[0], system=system, imports=imports, engine=engine.strip("\n") + "\n")
