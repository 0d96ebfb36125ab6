"""Setting single weights to zero."""
