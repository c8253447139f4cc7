"""The embedded platform: the Vers API in front of QEMU machines on this computer.

    command line (`cli.py`)
      └── launcher     up, down, status, seen from outside the daemon
            └── daemon       one process: API, VMs, gateway
                  ├── app          the Vers API over HTTP (what it answers, and in which words)
                  │     └── replay       the same idempotency key is answered once
                  ├── fleet        which VMs there are; creates, lists, deletes, adopts
                  │     ├── machine      one QEMU process, from start to end
                  │     │     ├── hardware     the arguments that make the machine
                  │     │     └── guestlink    talks to our agent inside it
                  │     ├── base         the booted machine new VMs are restored from
                  │     ├── record       what is kept on disk of a VM
                  │     ├── disks        its disk file
                  │     └── keys         SSH keys of a VM
                  └── gateway      TLS port that leads to each VM's SSH server
                        └── certificates
    image        kernel, initramfs and disk all VMs start from
      ├── rootfs       the Debian tree, by mmdebstrap
      ├── additions    what of ours is put into it
      └── initramfs    the few modules needed to find the disk
    accelerator  KVM, HVF or software emulation, found by trying
    upkeep       removes images and booted machines that nothing uses
    tools        programs of the host, and how to install them
    paths        where all of this is kept

It knows only the data of the API (`api.models`), the errors and the settings; the clients know only
what it writes to `platform.json`.
"""
