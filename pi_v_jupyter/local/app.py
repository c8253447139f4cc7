"""The Vers API over HTTP: which questions there are, and in which words they are answered.

Every request needs the bearer key, unknown paths included, so that a web page that reaches this port
(DNS rebinding) learns nothing. What the real platform has and this one does not yet answers 501.
"""

from __future__ import annotations

import hmac
import logging

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local.access import Access, Caller, asking, permit
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.problems import (
    ConflictError,
    NoRoomError,
    NotAllowedError,
    NotPossibleError,
    UnknownError,
)
from pi_v_jupyter.local.replay import MismatchError, Replay
from pi_v_jupyter.local.routes import access, account, commits, description, inside, tags, vms
from pi_v_jupyter.local.routes.access import Address
from pi_v_jupyter.local.routes.account import SERVER_NAME as SERVER_NAME
from pi_v_jupyter.local.routes.refusals import refusal, refusals

log = logging.getLogger(__name__)

PREFIX = "/api/v1"
LARGEST_BODY = 64 * 1024**2  # bytes; the daemon holds it whole

# Of the real platform, not of this one yet: method, path, what it does.
_NOT_YET = (
    ("POST", "/vm/branch/by_ref/{repository}/{tag}", "branching a reference"),
    *(
        (method, path, what)
        for what in ("images", "repositories", "public", "domains", "deploy")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        for path in (f"/{what}", f"/{what}/{{rest:path}}")
    ),
)


def build(fleet: Fleet, keys: Access, address: Address, api_key: str) -> ASGIApp:
    """The application: the API of `fleet`, found at `address`, behind `api_key` and the `keys` of VMs."""
    app = FastAPI(
        title="Vers API, embedded",
        version=account.version_here(),
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        redirect_slashes=False,
    )
    app.state.replay = Replay[Response](lambda answer: len(answer.body))
    for routes in (
        vms.router(fleet),
        commits.router(fleet),
        tags.router(fleet.catalog),
        account.router(fleet.owner_id, fleet.catalog.env_vars),
        inside.router(fleet),
        access.router(keys, address),
    ):
        app.include_router(routes, prefix=PREFIX, responses=refusals(400, 401, 403, 413, 500))
    app.include_router(_not_yet(), prefix=PREFIX, include_in_schema=False)
    description.correct(app)
    _answer_errors(app)
    return _Guard(app, api_key, keys, fleet)


def _not_yet() -> APIRouter:
    router = APIRouter()

    def add(method: str, path: str, what: str) -> None:
        async def refuse() -> None:
            raise HTTPException(501, f"The embedded platform does not have {what} yet ({method} {path}).")

        router.add_api_route(path, refuse, methods=[method], response_model=None)

    for operation in _NOT_YET:
        add(*operation)
    return router


def _answer_errors(app: FastAPI) -> None:
    """Errors in the API's own shape, whatever raised them."""

    def answer(error: type[Exception], status: int) -> None:
        async def respond(_: Request, raised: Exception) -> JSONResponse:
            return refusal(status, str(raised))

        app.add_exception_handler(error, respond)

    answer(NotPossibleError, 400)
    answer(NotAllowedError, 403)
    answer(UnknownError, 404)
    answer(ConflictError, 409)
    answer(NoRoomError, 507)
    answer(PlatformError, 500)

    @app.exception_handler(HTTPException)
    async def _refused(request: Request, error: HTTPException) -> JSONResponse:
        answered = refusal(error.status_code, str(error.detail))
        if error.status_code == 405:
            answered.headers["Allow"] = ", ".join(_methods(app, request.scope))
        return answered

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return refusal(400, "; ".join(problems))

    @app.exception_handler(ClientDisconnect)
    async def _left(_: Request, error: ClientDisconnect) -> JSONResponse:
        return refusal(400, "The request did not arrive whole.")  # for nobody; but no failure of ours

    @app.exception_handler(MismatchError)
    async def _reused(_: Request, error: MismatchError) -> JSONResponse:
        return refusal(400, "This X-Idempotency-Key was used for another request.")

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return refusal(500, "The platform failed; its log says why.")


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """What may be done with a path, by all routes that it has: the first alone would tell half of it."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


class _Guard:
    """Lets only requests with a bearer key through, and of those only as much as there is room for."""

    def __init__(self, app: ASGIApp, api_key: str, keys: Access, fleet: Fleet) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode()
        self._keys = keys
        self._fleet = fleet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = self._caller(scope)
        except UnknownError as error:
            await refusal(404, str(error))(scope, receive, send)
        except NotAllowedError as error:
            await refusal(403, str(error))(scope, receive, send)
        except PermissionError:
            await refusal(401, "The API key is missing or wrong.")(scope, receive, send)
        else:
            with asking(caller):
                await self._app(scope, _bounded(receive), send)

    def _caller(self, scope: Scope) -> Caller | None:
        """The VM that asks, within what its key allows; None is the account itself."""
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, self._expected):
            return None
        caller = self._keys.caller(given.removeprefix(b"Bearer ").decode(errors="replace"))
        if caller is None:
            raise PermissionError
        path = scope["path"].removeprefix(f"{PREFIX}/")
        permit(caller, scope["method"], path, self._fleet.get, self._fleet.catalog.commit)
        return caller


def _bounded(receive: Receive) -> Receive:
    got = 0

    async def receive_some() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > LARGEST_BODY:
            raise HTTPException(413, f"A body has {LARGEST_BODY >> 20} MB at most.")
        return message

    return receive_some
