"""Tags: names for commits."""

from __future__ import annotations

from fastapi import APIRouter

from pi_v_jupyter.api.models import TagChange, TagInfo, TagList, TagRef, TagRequest
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.routes.once import Once
from pi_v_jupyter.local.routes.refusals import refusals


def router(catalog: Catalog) -> APIRouter:
    """The paths, in front of `catalog`."""
    routes = APIRouter(route_class=Once, tags=["Tags"])

    @routes.get("/commit_tags")
    async def list_tags() -> TagList:
        return TagList(tags=catalog.tags())

    @routes.post("/commit_tags", responses=refusals(404, 409, 507))
    async def add_tag(request: TagRequest) -> TagRef:
        tag = catalog.add_tag(request.tag_name, request.commit_id, request.description)
        return TagRef(tag_id=tag.tag_id, tag_name=tag.tag_name, commit_id=tag.commit_id)

    @routes.get("/commit_tags/{tag_name}", responses=refusals(404))
    async def get_tag(tag_name: str) -> TagInfo:
        return catalog.tag(tag_name)

    @routes.patch("/commit_tags/{tag_name}", responses=refusals(404, 507))
    async def change_tag(tag_name: str, request: TagChange) -> TagInfo:
        return catalog.change_tag(tag_name, request)

    @routes.delete("/commit_tags/{tag_name}", responses=refusals(404, 507))
    async def delete_tag(tag_name: str) -> TagRef:
        tag = catalog.remove_tag(tag_name)
        return TagRef(tag_id=tag.tag_id, tag_name=tag.tag_name, commit_id=tag.commit_id)

    return routes
