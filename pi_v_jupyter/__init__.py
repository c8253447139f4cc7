"""Jupyter cells on virtual machines."""
