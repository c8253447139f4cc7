"""Plan mode: look first, without being able to touch."""
