"""The program that people take home with an artifact."""

from __future__ import annotations

from runtimes.runtime import Artifact

_PROGRAM = """# Classify images with {file}: the files named as arguments or, without any, the images of samples.npz.
import json
import sys
from pathlib import Path

import numpy as np
{imports}
from PIL import Image

HERE = Path(__file__).parent
CONTRACT = json.loads((HERE / "contract.json").read_text())
CHANNELS, HEIGHT, WIDTH = CONTRACT["shape"]
MEAN, STD = (np.float32(CONTRACT[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
{engine}

def pixels(path):
    image = Image.open(path).convert("L" if CHANNELS == 1 else "RGB").resize((WIDTH, HEIGHT))
    return np.asarray(image).reshape(HEIGHT, WIDTH, CHANNELS).transpose(2, 0, 1)


samples = None if sys.argv[1:] else np.load(HERE / "samples.npz")
images = samples["pixels"] if samples else np.stack([pixels(path) for path in sys.argv[1:]])
scores = logits((images - MEAN) / STD)
scores = np.exp(scores - scores.max(1, keepdims=True))
confidences = scores / scores.sum(1, keepdims=True)
predictions = confidences.argmax(1)
for index, best in enumerate(predictions):
    print(f"{{index}}: {{CONTRACT['labels'][best]}} ({{confidences[index, best]:.1%}})")
if samples:
    print(f"{{(predictions == samples['labels']).mean():.1%}} of {{len(images)}} images right")
"""


def sample_code(artifact: Artifact, *, imports: str, engine: str) -> str:
    """The program around `engine`, source that defines `logits(x)`: float32 [N, classes] for x[N, C, H, W]."""
    return _PROGRAM.format(file=artifact.files[0], imports=imports, engine=engine)
