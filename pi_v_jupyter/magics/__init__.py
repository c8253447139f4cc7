"""The magics: parse, wait, show."""
