"""State in, pixels out: how our objects look in a notebook and in a terminal. No I/O here."""
