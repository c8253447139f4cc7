"""The control plane: what the platform does to VMs, spoken over HTTP."""
