"""The Learn page, in parts."""
