"""Removing channels: what can go, what goes, and what it came to."""
