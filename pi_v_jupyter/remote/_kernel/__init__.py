"""What runs on a VM beside a Jupyter kernel there; `remote/kernel.py` is the other side."""
