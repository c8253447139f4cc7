"""The account: whose key it is, the variables of its VMs, what the platform runs."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter
from pydantic import BaseModel

from pi_v_jupyter.api.models import EnvVars, EnvVarsRequest, KeyValidation, SystemVersion
from pi_v_jupyter.local.env_vars import EnvVars as Variables
from pi_v_jupyter.local.routes.once import Once
from pi_v_jupyter.local.routes.refusals import refusals

SERVER_NAME = "pi-v-jupyter"
_YOU = "you, on this computer"


class User(BaseModel):
    """Who the key belongs to. The embedded platform knows one person, and nothing about them."""

    id: str
    user_name: str = _YOU
    email: str = ""


class Organization(BaseModel):
    """What that person belongs to: nothing but themselves."""

    id: str
    name: str = _YOU


class Key(BaseModel):
    """The key itself, without what is secret; `created_at` is when this run of the platform took it up."""

    id: str
    label: str = "embedded platform"
    created_at: datetime


class Account(BaseModel):
    """The answer of `GET /whoami`."""

    user: User
    org: Organization
    api_key: Key


def router(owner_id: str, env_vars: Variables) -> APIRouter:
    """The paths, for the account `owner_id` and its `env_vars`."""
    routes = APIRouter(route_class=Once, tags=["Account"])
    account = Account(
        user=User(id=owner_id),
        org=Organization(id=owner_id),
        api_key=Key(id=owner_id, created_at=datetime.now(UTC)),
    )

    @routes.get("/whoami")
    async def whoami() -> Account:
        return account

    @routes.post("/keys/validate")
    async def validate_key() -> KeyValidation:
        return KeyValidation(valid=True, message="This is the key of the embedded platform.")

    @routes.get("/system/version")
    async def system_version() -> SystemVersion:
        return SystemVersion(executable_name=SERVER_NAME, workspace_version=version_here())

    @routes.get("/env_vars")
    async def list_env_vars() -> EnvVars:
        return EnvVars(vars=env_vars.all())

    @routes.put("/env_vars", responses=refusals(507))
    async def set_env_vars(request: EnvVarsRequest) -> EnvVars:
        env_vars.set(request.vars, replace=request.replace)
        return EnvVars(vars=env_vars.all())

    @routes.delete("/env_vars/{key}", responses=refusals(404, 507))
    async def delete_env_var(key: str) -> EnvVars:
        env_vars.remove(key)
        return EnvVars(vars=env_vars.all())

    return routes


def version_here() -> str:
    """The release of this package."""
    try:
        return version("pi-v-jupyter")
    except PackageNotFoundError:  # run from a folder that is not installed
        return "unknown"
