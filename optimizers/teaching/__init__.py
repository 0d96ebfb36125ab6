"""Networks that learn from other networks' answers."""
