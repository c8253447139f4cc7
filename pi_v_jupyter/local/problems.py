"""What the platform can have against a request; the API tells each by its own status code."""

from __future__ import annotations

from pi_v_jupyter.errors import PlatformError


class NotPossibleError(PlatformError):
    """It cannot be; something else could."""


class UnknownError(PlatformError):
    """There is no VM, commit or tag of that name."""


class NotAllowedError(PlatformError):
    """The key that asks does not allow it."""


class ConflictError(PlatformError):
    """Not in the state things are in now."""


class NoRoomError(PlatformError):
    """This computer has no room for it now."""
