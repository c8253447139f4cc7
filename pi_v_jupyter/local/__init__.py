"""The embedded platform: the Vers API in front of QEMU machines on this computer.

    command line (`cli.py`)
      └── launcher     up, down, status, seen from outside the daemon
            └── daemon       one process: API, VMs, gateway
                  ├── app, routes  the Vers API over HTTP (what it answers, and in which words)
                  │     ├── replay       the same idempotency key is answered once
                  │     ├── access       keys of VMs, and what they allow
                  │     └── inside, guestfiles   commands and files of a VM (answers: what both need)
                  ├── fleet        what is done with VMs: made, branched, committed, restored, deleted
                  │     ├── requests, capacity   what may be asked for, and what there is room for
                  │     ├── catalog      commits, tags, env_vars, on disk by `kept`
                  │     ├── snapshots    machines as they once were
                  │     │     ├── memory       what a machine wrote, found and copied
                  │     │     ├── disks        layers of its disk
                  │     │     └── store        all these files, for as long as something needs them
                  │     └── roster       which VMs there are and what runs each; takes over a dead daemon's
                  │           ├── record       what is kept on disk of a VM
                  │           └── foundry      brings machines up
                  │                 ├── base         the booted machine new VMs are copies of
                  │                 ├── keys         SSH keys of a VM
                  │                 └── machine      one QEMU process, from start to end
                  │                       ├── hardware     the arguments that make the machine
                  │                       └── guestlink    talks to our agent inside it
                  ├── sieve        what leaves a VM
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
