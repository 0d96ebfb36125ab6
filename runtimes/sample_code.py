"""The program that people take home with an artifact."""

from __future__ import annotations

from runtimes.runtime import Artifact
from runtimes.text_code import takes_texts, text_code

MOST_LINES = 40
THREADS = 'int(os.environ.get("OMP_NUM_THREADS", 0))  # 0 takes one for each core'
"""How the engines that are told their threads are told them; PyTorch reads the same variable by itself."""
_CROP = 'lambda *of: ImageOps.fit(*of, (1 - CONTRACT["crop_share"]) / 2)'
_PROGRAM = """# Classify images with {file}: the files named as arguments or, without any, the images of samples.npz.
{system}
from pathlib import Path
import numpy as np
{imports}
from PIL import Image, ImageOps
HERE = Path(__file__).parent
CONTRACT = {{"fit": "squash", "interpolation": "bicubic"}} | json.loads((HERE / "contract.json").read_text())
CHANNELS, HEIGHT, WIDTH = CONTRACT["shape"]
MEAN, STD = (np.float32(CONTRACT[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
FITS = {{"squash": Image.Image.resize, "pad": ImageOps.pad, "crop": {crop}}}
{engine}
def pixels(file):
    image = ImageOps.exif_transpose(Image.open(file)).convert("L" if CHANNELS == 1 else "RGB")
    image = FITS[CONTRACT["fit"]](image, (WIDTH, HEIGHT), Image.Resampling[CONTRACT["interpolation"].upper()])
    return np.asarray(image).reshape(HEIGHT, WIDTH, CHANNELS).transpose(2, 0, 1)

def classify(images):
    scores = logits((images - MEAN) / STD)
    return np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))

if __name__ == "__main__":  # of a picture that cannot be read, one sentence is told instead of a traceback
    sys.excepthook = lambda kind, why, at: print(why, file=sys.stderr) if issubclass(kind, OSError) else \
sys.__excepthook__(kind, why, at)
    samples = None if sys.argv[1:] else np.load(HERE / "samples.npz")
    rows = classify(samples["pixels"] if samples else np.stack([pixels(path) for path in sys.argv[1:]]))
    print(*(f"{{index}}: {{CONTRACT['labels'][row.argmax()]}} ({{row.max():.1%}})" for index, row in enumerate(rows)), \
sep="\\n")
    if samples:
        print(f"{{np.mean(rows.argmax(1) == samples['labels']):.1%}} of {{len(rows)}} images", \
CONTRACT.get("right", "right"))
"""


def sample_code(artifact: Artifact, *, imports: str, engine: str) -> str:
    """The program around `engine`, source that defines `logits(x)`: float32 [N, classes] for x[N, C, H, W].

    It can be imported as well: `pixels(file)` is uint8 [C, H, W], fitted as the contract says (images are distorted if
    it is of an earlier version and says nothing), `classify(images)` the confidences [N, classes] of uint8
    [N, C, H, W]. Where the engine needs it, the module `os` is there beside what it imports.
    """
    needed = ("json", "os", "sys") if "os." in engine else ("json", "sys")
    system = "\n".join(f"import {name}" for name in needed)
    engine = engine.strip("\n") + "\n"
    if takes_texts(artifact):
        return text_code(artifact, imports=imports, engine=engine, system=system)
    return _PROGRAM.format(file=artifact.files[0], system=system, imports=imports, engine=engine, crop=_CROP)
