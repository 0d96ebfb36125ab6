"""What is done in the environment of LiteRT Torch, which turns networks of PyTorch into `.tflite` files."""
