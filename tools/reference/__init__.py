"""Writes `docs/reference/`: what the code itself tells of its magics, settings, classes and errors."""
