"""What the quantizing techniques share, and one file for each engine's quantizer."""
