"""Keys of VMs: how an agent's VM gets one for this API. An extension: the Vers platform has no such path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pi_v_jupyter.local.access import Access
from pi_v_jupyter.local.hardware import HOST_SEEN
from pi_v_jupyter.local.routes.once import Once
from pi_v_jupyter.local.routes.refusals import refusals

DEFAULT_VMS = 20
MOST_VMS = 1000
LONGEST_SWARM = 64


@dataclass(frozen=True)
class Address:
    """Where the API and the gateway are: ports on loopback, the domain of VMs, its CA certificate (PEM)."""

    api_port: int
    gateway_port: int
    domain: str
    ca_pem: str

    @property
    def ports(self) -> frozenset[int]:
        """Those that are opened for a VM with a key."""
        return frozenset((self.api_port, self.gateway_port))


class ApiKeyRequest(BaseModel):
    """How many VMs may be there at a time that were made with the key, and whose swarm its VM is of."""

    max_vms: Annotated[int, Field(ge=0, le=MOST_VMS)] = DEFAULT_VMS
    swarm: Annotated[str, Field(max_length=LONGEST_SWARM)] = ""


class ApiKey(BaseModel):
    """The key, told this once, and where it is of use, as seen from inside the VM.

    The VM `<vm-id>.vm.<domain>` is at `gateway`, over TLS, under that name; `ca_pem` vouches for it.
    """

    api_key: str
    base_url: str
    gateway: str
    ca_pem: str
    domain: str


class VMWithoutKey(BaseModel):
    """The VM whose key has ended."""

    vm_id: str


def router(access: Access, address: Address) -> APIRouter:
    """The paths, in front of `access`."""
    routes = APIRouter(route_class=Once, tags=["Keys of VMs"])

    @routes.post("/vm/{vm_id}/api_key", responses=refusals(403, 404, 507))
    async def grant(vm_id: str, request: ApiKeyRequest | None = None) -> ApiKey:
        wanted = request or ApiKeyRequest()
        return ApiKey(
            api_key=access.grant(vm_id, wanted.max_vms, wanted.swarm),
            base_url=f"http://{HOST_SEEN}:{address.api_port}/api/v1",
            gateway=f"{HOST_SEEN}:{address.gateway_port}",
            ca_pem=address.ca_pem,
            domain=address.domain,
        )

    @routes.delete("/vm/{vm_id}/api_key", responses=refusals(404, 507))
    async def revoke(vm_id: str) -> VMWithoutKey:
        access.revoke(vm_id)
        return VMWithoutKey(vm_id=vm_id)

    return routes
