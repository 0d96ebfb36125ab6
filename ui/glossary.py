"""The field's terms as this program uses them."""

TERMS = {
    "Technique": "One transformation of a trained network: quantization, pruning, distillation, mixed precision.",
    "Recipe": "What to do, as plain data: a model, techniques in order, a runtime, a device and how to measure.",
    "Run": ("One execution of a recipe. It belongs to the server, not to the browser: closing the tab stops nothing."),
    "Variant": "The network that a run made, with what was measured on it.",
    "Baseline": (
        "The untouched network in FP32 and eager PyTorch; of a model that is an ONNX file, in ONNX Runtime, and of one "
        "of Keras or a .tflite file in LiteRT. Every difference on screen is relative to it."
    ),
    "Reference": (
        "The untouched network in the recipe's own runtime. It tells what the techniques gained, and what the "
        "runtime did."
    ),
    "Runtime": "A deployable format and the engine that serves it, such as ONNX Runtime.",
    "Artifact": (
        "The exported file that ships. Accuracy, size and latency are measured on it, opened again by its runtime."
    ),
    "Precision": "The number format of weights and activations: FP32, FP16, BF16, INT8, FP8 and smaller ones.",
    "Quantization": (
        "Storing numbers with fewer bits. Each tensor or channel gets a scale and a zero point: real = scale "
        "× (stored − zero point)."
    ),
    "Post-training quantization (PTQ)": "Quantization of a trained network without training it again.",
    "Static and dynamic": (
        "Static: ranges of activations are fixed beforehand on a calibration set. Dynamic: they are found "
        "anew for each input."
    ),
    "Dynamic range quantization": (
        "Weights are kept in INT8, and what reaches a layer is rounded to INT8 anew for each input. No calibration is "
        "needed; TensorFlow's simplest way to a quarter of the size."
    ),
    "16x8": (
        "Activations in 16 bits, weights in 8: nearly the accuracy of FP32 with the weights of INT8, for processors "
        "made for it. On ordinary ones it is slower than FP32."
    ),
    "LiteRT (.tflite)": (
        "Google's engine for phones and small devices, formerly TensorFlow Lite, and the file that it serves. The file "
        "holds one network and its weights, and no code."
    ),
    "Gzip size": (
        "Bytes of the file after gzip: what is stored or sent where files are compressed. Zeros and repeated weights "
        "shrink it; the file that the engine opens stays as large as it is."
    ),
    "State dict (state_dict)": (
        "The weights of a PyTorch network by name, without the code that computes with them; the architecture has to "
        "be named beside it."
    ),
    "safetensors": "A file of tensors by name and nothing else, which can be read without running anything.",
    "Sandbox": (
        "A process without network, without other files and with little memory and time, in which uploaded files are "
        "read. What it finds is written anew; the file itself goes no further."
    ),
    "Preprocessing": (
        "How an example becomes the network's input: size, layout, range and colour of an image, or tokens of a text. "
        "With another one than in training a network answers, and answers wrong."
    ),
    "Split": (
        "The shares of a data set: to train on, to calibrate on, and to test on. None shares an example with another, "
        "so that what is measured was never seen before."
    ),
    "Calibration set": "A few hundred images, none of them test images, that show which ranges activations take.",
    "Calibration": (
        "Choosing which values the grid of a tensor covers, from what was seen on the calibration set: all of them "
        "(min-max), or less where cutting off the rarest gives the common ones finer steps (percentile, entropy, MSE)."
    ),
    "Granularity": "How many numbers share a scale: a whole tensor, a channel, or a group.",
    "Per tensor, per channel, per group": (
        "One scale for all weights of a layer, one for each output channel, or one for each group of a channel's "
        "inputs. The fewer numbers share a scale, the better it fits them, and the more scales have to be kept."
    ),
    "Group size": "How many inputs of an output channel share a scale: 32 to 128 are usual for 4-bit weights.",
    "Weight-only quantization": (
        "Weights are kept in 8 or 4 bits and multiplied as floats: a small file and little memory traffic, no "
        "calibration. Faster where a layer waits for its weights."
    ),
    "Quantization-aware training (QAT)": (
        "Training with rounding switched on, so that the weights move to where it hurts little, before the network is "
        "quantized for good."
    ),
    "SmoothQuant": (
        "Dividing the channels of an activation that have outliers by a factor, and multiplying the next layer's "
        "weights with it: the same network, easier to quantize. For transformers."
    ),
    "Bias correction": "Taking the mean error that rounding causes in each output channel back out of its bias.",
    "Signal-to-noise ratio (SNR)": (
        "The power of a signal over the power of its error, in decibels: 20 dB is an error of 1 % of the power, 40 dB "
        "of 0.01 %. A bit more or less is worth about 6 dB."
    ),
    "KL divergence": (
        "How far predicted probabilities are from those of the float network, in nats: 0 where they are the same. "
        "Here a layer's sensitivity: the divergence when it alone is quantized."
    ),
    "FP8": (
        "Floating-point numbers of 8 bits. E4M3 has 4 bits of exponent and 3 of mantissa and reaches 448: fine steps "
        "near zero, coarse ones far out. GPUs from Ada and Hopper on multiply them."
    ),
    "NVFP4": (
        "Floating-point numbers of 4 bits (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) with an FP8 scale for every "
        "16 of them, multiplied by Blackwell GPUs."
    ),
    "Simulated": (
        "Computed in float with values rounded as the format would: the accuracy is real, and nothing gets faster or "
        "smaller."
    ),
    "Structured pruning": (
        "Removing whole channels. What is left is an ordinary network with less arithmetic, for every engine."
    ),
    "Unstructured pruning": (
        "Setting single weights to zero. The compressed file shrinks; speed stays unless the engine knows sparsity."
    ),
    "Movement pruning": (
        "Setting to zero the weights that training pulls towards zero, however large they are, instead of the smallest."
    ),
    "Sparsity": "The share of weights that are exactly zero.",
    "2:4 sparsity": (
        "Two zeros in every four neighbouring weights: the pattern that NVIDIA GPUs from Ampere on compute faster."
    ),
    "Clustering": (
        "Giving the weights of a layer a few shared values. The file keeps every weight as a number of its own, so it "
        "becomes smaller only once it is compressed, and nothing becomes faster."
    ),
    "Collaborative optimisation": (
        "Quantization-aware training that keeps what was made before it: the zeros of pruning (PQAT), the shared "
        "values of clustering (CQAT), or both (PCQAT). Here it is what a chain of these techniques does."
    ),
    "SparseGPT": (
        "Choosing which weights become zero, and moving the others so that a layer's outputs on calibration images "
        "change as little as possible, with the second derivatives of that change."
    ),
    "Pruning ratio": (
        "The share of channels removed. MACs follow the product of what is left on both sides of a layer: with half "
        "the channels gone, about a quarter of them is left."
    ),
    "Importance": "How much a channel or weight matters; what has the least is removed first.",
    "Taylor importance": ("Weight times gradient: a first guess at how much the loss would change without the weight."),
    "Hessian importance": (
        "Squared weight times mean squared gradient: how much the loss would rise without the weight, judged by its "
        "curvature."
    ),
    "LAMP": (
        "A weight's square over the sum of squares of all weights of its layer that are at least as large, so that one "
        "ranking over all layers empties none of them."
    ),
    "Knee": "Where a curve bends: up to there little is lost, beyond it every step costs much more.",
    "Low-rank factorisation": (
        "Replacing a layer by two thinner ones, whose product is nearly its weight matrix. Their common width is the "
        "rank."
    ),
    "Energy": (
        "Of a matrix: the sum of its squared singular values. Keeping 95 % of it leaves out the smallest. Of an "
        "inference: joules above idle."
    ),
    "Fine-tuning": "A short training after a change, so that the network recovers accuracy.",
    "Warm-up": (
        "The first part of a training, in which the learning rate rises. In timing: calls that are made first and not "
        "counted."
    ),
    "Early stopping": "Ending a training once several epochs in a row brought nothing on the calibration images.",
    "Gradient accumulation": (
        "Averaging the gradients of several batches before the weights move: the step of a large batch in the memory "
        "of a small one."
    ),
    "Distillation": "Training a student, mostly a small one, to imitate the outputs of a teacher.",
    "Temperature": "Softens the teacher's outputs, so that the student sees which wrong classes are almost right.",
    "Alpha": "The weight of the teacher in the student's loss. With 0 the student learns from the labels alone.",
    "Control": (
        "What the training alone would have done. Of a distillation: the same student from the same start on the same "
        "batches, trained without the teacher. Of a recipe that trains a model of Keras: the untouched model trained "
        "on in FP32 for as many epochs. Only what exceeds the control can be put down to the technique."
    ),
    "Decoupled distillation (DKD)": (
        "A loss that tells apart how sure the teacher is of the right class and how it shares out the rest among the "
        "others, and weighs the two by themselves."
    ),
    "Hint": "What a teacher computes on its way to the answer, given to the student as a further target.",
    "Attention transfer": (
        "A hint about where only: the student's maps are to be strong where in an image the teacher's are."
    ),
    "Ensemble": "Several networks that answer together: the mean of their probabilities.",
    "Entropy": (
        "How undecided an answer is, in bits: 0 where one class has all the probability, log2 of the number of classes "
        "where all have the same."
    ),
    "Mixed precision": "Computing in a 16-bit format where that is safe, in FP32 where it is not.",
    "Loss scaling": (
        "Multiplying the loss before gradients are computed in FP16, so that small ones do not vanish, and dividing "
        "them again afterwards. The factor falls when gradients overflow and rises while they do not."
    ),
    "TF32": (
        "FP32 numbers multiplied with 10 bits of mantissa by the tensor cores of NVIDIA GPUs from Ampere on: faster "
        "training with FP32's range."
    ),
    "Test accuracy": "The share of test images whose best class is right, shown with its 95 % interval.",
    "Agreement": (
        "The share of test images that get the same class from two networks. Where test images have no labels, that "
        "with the untouched network takes the place of accuracy: it tells what a change did, not who is right."
    ),
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
