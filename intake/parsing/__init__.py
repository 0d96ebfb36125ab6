"""Readers of untrusted files. They run in the sandbox, import neither torch nor what executes anything it reads."""
