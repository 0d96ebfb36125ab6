"""The one fine-tuning loop and what belongs to it."""
