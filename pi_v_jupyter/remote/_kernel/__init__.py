"""What runs on a VM beside a Jupyter kernel there; `remote/kernel.py` is the other side.

wire       frames
clients    those that have come to the kernel
keeper     the kernel, and what it says led to them
program    the start of all that
travel     values, in the kernel itself; it is sent there apart from the others
"""
