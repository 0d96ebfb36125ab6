"""The field's terms as this program uses them."""

TERMS = {
    "Technique": "One transformation of a trained network: quantization, pruning, distillation, mixed precision.",
    "Recipe": "What to do, as plain data: a model, techniques in order, a runtime, a device and how to measure.",
    "Run": ("One execution of a recipe. It belongs to the server, not to the browser: closing the tab stops nothing."),
    "Variant": "The network that a run made, with what was measured on it.",
    "Baseline": "The untouched network in FP32 and eager PyTorch. Every difference on screen is relative to it.",
    "Reference": (
        "The untouched network in the recipe's own runtime. It tells what the techniques gained, and what the "
        "runtime did."
    ),
    "Runtime": "A deployable format and the engine that serves it, such as ONNX Runtime.",
    "Artifact": (
        "The exported file that ships. Accuracy, size and latency are measured on it, opened again by its runtime."
    ),
    "Precision": "The number format of weights and activations: FP32, FP16, BF16 or INT8.",
    "Quantization": (
        "Storing numbers with fewer bits. Each tensor or channel gets a scale and a zero point: real = scale "
        "× (stored − zero point)."
    ),
    "Post-training quantization (PTQ)": "Quantization of a trained network without training it again.",
    "Static and dynamic": (
        "Static: ranges of activations are fixed beforehand on a calibration set. Dynamic: they are found "
        "anew for each input."
    ),
    "Calibration set": "A few hundred images, none of them test images, that show which ranges activations take.",
    "Granularity": "How many numbers share a scale: a whole tensor, a channel, or a group.",
    "Structured pruning": (
        "Removing whole channels. The network becomes a smaller, ordinary network: faster everywhere."
    ),
    "Unstructured pruning": (
        "Setting single weights to zero. The compressed file shrinks; speed stays unless the engine knows sparsity."
    ),
    "Sparsity": "The share of weights that are exactly zero.",
    "2:4 sparsity": (
        "Two zeros in every four neighbouring weights: the pattern that NVIDIA GPUs from Ampere on compute faster."
    ),
    "Pruning ratio": "The share of channels removed. MACs fall faster than that, roughly with its square.",
    "Fine-tuning": "A short training after a change, so that the network recovers accuracy.",
    "Distillation": "Training a small student to imitate the outputs of a large teacher.",
    "Temperature": "Softens the teacher's outputs, so that the student sees which wrong classes are almost right.",
    "Alpha": "The weight of the teacher in the student's loss. With 0 the student learns from the labels alone.",
    "Mixed precision": "Computing in a 16-bit format where that is safe, in FP32 where it is not.",
    "Test accuracy": "The share of test images whose best class is right, shown with its 95 % interval.",
    "Latency, p50 and p95": (
        "Time of one inference at a stated batch size: the median, and what 95 of 100 stay below."
    ),
    "Throughput": "Images per second at a stated batch size.",
    "MACs": "Multiply-accumulate operations for one image; FLOPs are twice as many.",
    "No measurable difference": (
        "The statistics do not allow to call one better: the intervals overlap, or the change is below 3 %."
    ),
    "A/B duel": (
        "Two variants timed in turns, in random order, from processes of their own, with a copy of the first as the "
        "control: what exceeds the difference between two copies is real."
    ),
    "Pareto front": "The variants that no other one beats in both of two measures. All others are dominated.",
    "Shadow price": "What a little more of a budget would buy: the next better variant, and how much it needs.",
    "Flip and churn": (
        "A flip is an image whose answer changed. Churn is the share of flips; accuracy shows only what is left when "
        "those that turned right are set against those that turned wrong."
    ),
    "Shapley value": (
        "What a technique contributes, averaged over all orders in which the techniques can join. The values of all "
        "techniques sum to what they do together."
    ),
    "Roofline and attainable rate": (
        "What this device and runtime reach on a network that keeps them busy, measured here: the yardstick for what "
        "arithmetic promises."
    ),
}
