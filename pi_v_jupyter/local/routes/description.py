"""The API's description of itself (OpenAPI), where FastAPI's own words would not be true."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from pi_v_jupyter.local.routes.once import HEADER, LONGEST_KEY

_KEY = {"BearerKey": {"type": "http", "scheme": "bearer"}}
_IDEMPOTENCY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "The same for all tries of one call: whatever is asked is done once.",
    "schema": {"type": "string", "maxLength": LONGEST_KEY},
}


def correct(app: FastAPI) -> None:
    """Say what `app` really does: a key on every path, 400 in place of 422, writes done once."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _correct(describe())
        return describe()

    app.openapi = described  # type: ignore[method-assign]  # the way FastAPI documents


def _correct(schema: dict[str, Any]) -> None:
    components = schema["components"]
    components["securitySchemes"] = _KEY
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    schema["security"] = [{name: [] for name in _KEY}]
    for path in schema["paths"].values():
        for method, operation in path.items():
            operation["responses"].pop("422", None)
            if method != "get":
                operation.setdefault("parameters", []).append(_IDEMPOTENCY)
