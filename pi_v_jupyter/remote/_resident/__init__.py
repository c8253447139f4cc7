"""The resident program: runs on the VM and runs commands there, many over one channel.

OpenSSH's server spends about 100 ms on every channel it closes; this program makes a command cost a
fork. It is sent over the SSH channel at connect, or already there when a VM comes from a warm image. It
keeps to the standard library, needs Linux and Python >= 3.8, and is written to start fast: what only the
type checker reads stands under a TYPE_CHECKING of its own, because `typing` takes longer to import than
all of this.

Every job belongs to a client, not to a connection. A connection that breaks is replaced by one to the
Unix socket named in WELCOME; output the client has not received is sent again from its cursor, so
nothing is lost and nothing repeated. A client that stays away longer than it said loses its jobs.

    wire       frames, and one connection
    processes  starting one, what surrounds it, how it ended
    streams    the output and the input of a job
    terminals  the output of a job at a terminal
    sockets    a job that is a connection to a Unix socket
    files, writing, and editing     what can be done with files
    programs   which there are to run
    copying, and pack, unpack and what these use     the two ends of a copy
    work       such work, on a thread
    jobs       one command
    shells     the bash behind a cell, and the bash behind a command
    clients    whom it serves
    program    the loop

`remote/resident.py` is the other side.
"""
