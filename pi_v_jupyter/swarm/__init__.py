"""Agents on VMs: made of one commit all at once, talked to, watched, waited for and collected from."""
