"""The resident program: runs on the VM and runs commands there, many over one channel.

OpenSSH's server spends about 100 ms on every channel it closes; this program makes a command cost a
fork. It is sent over the SSH channel at connect, or already there when a VM comes from a warm image. It
keeps to the standard library, needs Linux and Python >= 3.8, and is written to start fast.

Every job belongs to a client, not to a connection. A connection that breaks is replaced by one to the
Unix socket named in WELCOME; output not yet acknowledged is sent again from the client's cursor, so
nothing is lost and nothing repeated. A client that stays away for `program.LINGER` seconds loses its jobs.

    wire      frames, and one connection
    jobs      one command and its streams
    shells    the bash behind a cell, and the bash behind a command
    program   the clients, the loop

`remote/resident.py` is the other side.
"""
