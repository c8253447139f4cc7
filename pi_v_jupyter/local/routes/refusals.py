"""How the API says no: one shape for every error, and what each status means, for the API's description."""

from __future__ import annotations

from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel

_MEANINGS = {
    400: "The request makes no sense, or what it asks for cannot be.",
    401: "The API key is missing or wrong.",
    403: "The key, a VM's own, does not allow it.",
    404: "What is named is not there.",
    409: "Not in the state that things are in now.",
    413: "The body is too large.",
    500: "The platform failed.",
    507: "There is no room for it on this computer.",
}


class Refusal(BaseModel):
    """Why not, in a sentence."""

    error: str
    success: Literal[False]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a path may answer besides what was asked for, for its `responses`."""
    return {status: {"model": Refusal, "description": _MEANINGS[status]} for status in statuses}


def refusal(status: int, message: str) -> JSONResponse:
    """An error in the API's shape."""
    printable = message.encode(errors="replace").decode()  # half a surrogate pair has no bytes
    return JSONResponse({"error": printable, "success": False}, status_code=status)
