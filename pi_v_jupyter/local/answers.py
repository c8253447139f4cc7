"""What both the commands and the files of a VM need of its agent: checked answers, refusals, large data.

What the agent says is checked like anything a stranger sends.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local.guestlink import GuestError, GuestLink
from pi_v_jupyter.local.problems import ConflictError, NoRoomError, NotPossibleError

ANSWER_TIMEOUT = 60.0  # seconds, for a VM that is busy
_PART = 256 * 1024  # bytes in one question

Model = TypeVar("Model", bound=BaseModel)


async def hand_over(guest: GuestLink, content: bytes, name: str) -> dict[str, str]:
    """What to ask with so that the agent has `content`: itself when it is small, else sent before."""
    if len(content) <= _PART:
        return {name: base64.b64encode(content).decode()}
    token = secrets.token_hex(16)
    for begin in range(0, len(content), _PART):
        part = base64.b64encode(content[begin : begin + _PART]).decode()
        await guest.ask("upload", timeout=ANSWER_TIMEOUT, token=token, data=part)
    return {"upload": token}


def checked(model: type[Model], answer: dict[str, Any]) -> Model:
    """The answer as `model`.

    Raises:
        PlatformError: it is not like that.
    """
    try:
        return model.model_validate(answer)
    except ValidationError:
        raise PlatformError("The VM's agent gave an answer that makes no sense.") from None


def decoded(data: str) -> bytes:
    """The bytes that base64 stands for.

    Raises:
        PlatformError: it is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise PlatformError("The VM's agent gave an answer that makes no sense.") from None


def refuse(error: GuestError) -> NoReturn:
    """Raise what the API calls the agent's no."""
    sentence = f"The VM refused: {error.said}."
    if error.code in ("ENOSPC", "EDQUOT", "ENOMEM"):
        raise NoRoomError(f"The VM has no room for it: {error.said}.") from None
    if error.code in ("EEXIST", "EAGAIN", "ESTALE", "ETXTBSY"):
        raise ConflictError(sentence) from None
    if error.code != "EIO":
        raise NotPossibleError(sentence) from None
    raise error
