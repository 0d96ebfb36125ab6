"""The program that people take home with an artifact that classifies texts."""

from __future__ import annotations

import json

from runtimes.runtime import Artifact

_PROGRAM = """# Classify texts with {file}: the texts given as arguments or, without any, those of samples.npz.
{system}
from pathlib import Path
import numpy as np
{imports}
from tokenizers import Tokenizer
HERE = Path(__file__).parent
CONTRACT = json.loads((HERE / "contract.json").read_text())
TOKENIZER = Tokenizer.from_file(str(HERE / "tokenizer.json"))  # cuts and fills up to CONTRACT["length"]
{engine}
def tokens(texts):
    return np.int64([[each.ids, each.attention_mask] for each in TOKENIZER.encode_batch(texts)])

def classify(tokens):
    scores = logits(tokens)
    return np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))

if __name__ == "__main__":
    samples = None if sys.argv[1:] else np.load(HERE / "samples.npz")
    rows = classify(np.int64(samples["pixels"]) if samples else tokens(sys.argv[1:]))
    for index, row in enumerate(rows):
        print(f"{{index}}: {{CONTRACT['labels'][row.argmax()]}} ({{row.max():.1%}})")
    if samples:
        print(f"{{np.mean(rows.argmax(1) == samples['labels']):.1%}} of {{len(rows)}} texts", \
CONTRACT.get("right", "right"))
"""


def takes_texts(artifact: Artifact) -> bool:
    """Whether the contract beside the artifact is one of texts."""
    contract = artifact.folder / "contract.json"
    return contract.exists() and json.loads(contract.read_text()).get("task") == "text"


def text_code(artifact: Artifact, *, imports: str, engine: str, system: str) -> str:
    """The program around `engine`, source that defines `logits(x)`: float32 [N, classes] for int64 x[N, 2, length].

    It can be imported as well: `tokens(texts)` is int64 [N, 2, length], `classify(tokens)` the confidences
    [N, classes]. `system` are its imports from the standard library.
    """
    return _PROGRAM.format(file=artifact.files[0], system=system, imports=imports, engine=engine)
