"""Text that arrives in pieces."""

from __future__ import annotations

import pytest

from pi_v_jupyter.remote.channel import TextDecoder


@pytest.mark.parametrize("at", range(1, 13))
def test_text_split_at_any_byte_is_put_together(at: int) -> None:
    text = "aé日🙂\r\nz"
    data = text.encode()
    decoder = TextDecoder()
    assert decoder.feed(data[:at]) + decoder.feed(data[at:]) + decoder.feed(b"", final=True) == text


def test_bytes_that_are_no_utf8_are_shown_not_raised() -> None:
    decoder = TextDecoder()
    assert decoder.feed(b"a\xffb\xc3") + decoder.feed(b"(", final=True) == "a\\xffb\\xc3("
    assert TextDecoder().feed(b"\xe6\x97", final=True) == "\\xe6\\x97"
