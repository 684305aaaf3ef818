"""Tests. Each one's docstring states the fact that it tests; nothing is patched."""
