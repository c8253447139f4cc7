"""The Vers API over HTTP: which questions there are, and in which words they are answered.

Every request needs the bearer key, unknown paths included, so that a web page that reaches this port
(DNS rebinding) learns nothing. What the real platform has and this one does not yet answers 501.
"""

from __future__ import annotations

import hmac
import logging
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from pi_v_jupyter.api.models import NewRootRequest
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local.fleet import Fleet, NoRoomError, NotPossibleError
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.replay import MismatchError, Replay

log = logging.getLogger(__name__)

SERVER_NAME = "pi-v-jupyter"
SSH_PORT = 22
_LISTED = {"vm_id", "owner_id", "state", "created_at", "labels"}
_METADATA = _LISTED | {
    "ip",
    "vcpu_count",
    "mem_size_mib",
    "fs_size_mib",
    "parent_commit_id",
    "grandparent_vm_id",
}
_IdempotencyKey = Annotated[str | None, Header(alias="X-Idempotency-Key", max_length=256)]

# Of the real platform, not of this one yet: method, path, what it does.
_NOT_YET = (
    ("PATCH", "/vm/{vm_id}/state", "pausing and resuming a VM"),
    ("PATCH", "/vm/{vm_id}/disk", "growing a disk"),
    ("POST", "/vm/{vm_id}/branch", "branching a VM"),
    ("POST", "/vm/branch/by_vm/{vm_id}", "branching a VM"),
    ("POST", "/vm/branch/by_commit/{commit_id}", "branching a commit"),
    ("POST", "/vm/branch/by_tag/{tag}", "branching a tag"),
    ("POST", "/vm/branch/by_ref/{repository}/{tag}", "branching a reference"),
    ("POST", "/vm/{vm_id}/commit", "committing a VM"),
    ("POST", "/vm/from_commit", "restoring a commit"),
    ("GET", "/commits", "listing commits"),
    ("GET", "/commits/public", "listing public commits"),
    ("PATCH", "/commits/{commit_id}", "changing a commit"),
    ("DELETE", "/commits/{commit_id}", "deleting a commit"),
    ("GET", "/vm/commits/{commit_id}/parents", "listing a commit's parents"),
    ("GET", "/commit_tags", "listing tags"),
    ("POST", "/commit_tags", "making a tag"),
    ("GET", "/commit_tags/{tag}", "reading a tag"),
    ("PATCH", "/commit_tags/{tag}", "changing a tag"),
    ("DELETE", "/commit_tags/{tag}", "deleting a tag"),
    ("PATCH", "/vm/{vm_id}/label", "labelling a VM"),
    ("PUT", "/vm/{vm_id}/labels", "labelling a VM"),
    ("DELETE", "/vm/{vm_id}/label/{name}", "removing a label"),
    ("POST", "/vm/{vm_id}/exec", "running a command through the API"),
    ("POST", "/vm/{vm_id}/exec/stream", "running a command through the API"),
    ("POST", "/vm/{vm_id}/exec/stream/attach", "attaching to a command"),
    ("GET", "/vm/{vm_id}/logs", "reading logs"),
    ("GET", "/vm/{vm_id}/files", "reading a file through the API"),
    ("PUT", "/vm/{vm_id}/files", "writing a file through the API"),
    ("GET", "/env_vars", "listing environment variables"),
    ("PUT", "/env_vars", "setting environment variables"),
    ("DELETE", "/env_vars/{key}", "removing an environment variable"),
    *(
        (method, path, what)
        for what in ("images", "repositories", "public", "domains", "deploy")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        for path in (f"/{what}", f"/{what}/{{rest:path}}")
    ),
)


def build(fleet: Fleet, api_key: str) -> ASGIApp:
    """The application: the API of `fleet` behind `api_key`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_vms(fleet), prefix="/api/v1")
    app.include_router(_account(fleet), prefix="/api/v1")
    app.include_router(_not_yet(), prefix="/api/v1")
    _answer_errors(app)
    return _Guard(app, api_key)


def _vms(fleet: Fleet) -> APIRouter:
    router = APIRouter()
    replay = Replay()

    def known(vm_id: str) -> VMRecord:
        vm = fleet.get(vm_id)
        if vm is None:
            raise HTTPException(404, f"There is no VM {vm_id}.")
        return vm

    @router.get("/vms")  # the older vintage's name of it
    @router.get("/vm")
    async def list_vms() -> list[dict[str, Any]]:
        return [_told(vm, _LISTED) for vm in fleet.list()]

    @router.post("/vm/new_root")
    async def new_root(
        request: NewRootRequest, wait_boot: bool = False, idempotency_key: _IdempotencyKey = None
    ) -> dict[str, str]:
        async def create() -> dict[str, str]:
            vm = fleet.create(request.vm_config)
            if wait_boot:
                try:
                    await fleet.started(vm.vm_id)
                except Exception:
                    await fleet.delete(vm.vm_id)  # its caller will never learn its id
                    raise
            return {"vm_id": vm.vm_id}

        return await replay.once(idempotency_key, f"new_root {request!r}", create)

    @router.get("/vm/{vm_id}/status")
    async def status(vm_id: str) -> dict[str, Any]:
        return _told(known(vm_id), _LISTED)

    @router.get("/vm/{vm_id}/metadata")
    async def metadata(vm_id: str) -> dict[str, Any]:
        return _told(known(vm_id), _METADATA)

    @router.delete("/vm/{vm_id}")
    async def delete(vm_id: str, idempotency_key: _IdempotencyKey = None) -> dict[str, str]:
        async def remove() -> dict[str, str]:
            await fleet.delete(known(vm_id).vm_id)
            return {"vm_id": vm_id}

        return await replay.once(idempotency_key, f"delete {vm_id}", remove)

    @router.get("/vm/{vm_id}/ssh_key")
    async def ssh_key(vm_id: str) -> dict[str, Any]:
        return {"ssh_port": SSH_PORT, "ssh_private_key": known(vm_id).private_key()}

    return router


def _account(fleet: Fleet) -> APIRouter:
    router = APIRouter()

    @router.get("/whoami")
    async def whoami() -> dict[str, Any]:
        owner = {"id": fleet.owner_id, "name": "you, on this computer"}
        return {"user": owner, "org": owner, "api_key": {"id": fleet.owner_id, "label": "embedded platform"}}

    @router.post("/keys/validate")
    async def validate_key() -> dict[str, Any]:
        return {"valid": True, "message": "This is the key of the embedded platform."}

    @router.get("/system/version")
    async def system_version() -> dict[str, str]:
        return {"executable_name": SERVER_NAME, "git_hash": "", "workspace_version": _version()}

    return router


def _not_yet() -> APIRouter:
    router = APIRouter()

    def add(method: str, path: str, what: str) -> None:
        async def refuse() -> None:
            raise HTTPException(501, f"The embedded platform does not have {what} yet ({method} {path}).")

        router.add_api_route(path, refuse, methods=[method], response_model=None)

    for operation in _NOT_YET:
        add(*operation)
    return router


def _told(vm: VMRecord, fields: set[str]) -> dict[str, Any]:
    return vm.model_dump(mode="json", include=fields)


def _answer_errors(app: FastAPI) -> None:
    """Errors in the API's own shape, whatever raised them."""

    def answer(error: type[Exception], status: int) -> None:
        async def respond(_: Request, raised: Exception) -> JSONResponse:
            return _error(status, str(raised))

        app.add_exception_handler(error, respond)

    answer(NotPossibleError, 400)
    answer(NoRoomError, 507)
    answer(PlatformError, 500)

    @app.exception_handler(HTTPException)
    async def _refused(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return _error(400, "; ".join(problems))

    @app.exception_handler(MismatchError)
    async def _reused(_: Request, error: MismatchError) -> JSONResponse:
        return _error(400, "This X-Idempotency-Key was used for another request.")

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _error(500, "The platform failed; its log says why.")


def _error(status: int, message: str) -> JSONResponse:
    printable = message.encode(errors="replace").decode()  # half a surrogate pair has no bytes
    return JSONResponse({"error": printable, "success": False}, status_code=status)


class _Guard:
    """Lets only requests with the bearer key through."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                await _error(401, "The API key is missing or wrong.")(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _version() -> str:
    try:
        return version("pi-v-jupyter")
    except PackageNotFoundError:  # run from a folder that is not installed
        return "unknown"
