"""Files that are put into the VM image; nothing here runs on the host."""
