"""The inside of one VM: how anything reaches it."""
