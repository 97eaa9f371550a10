"""What there must be for every page to show something, and the path of each page."""

from collections.abc import Mapping

from admin_api.portal.routes import PAGES
from gateway.storage.postgres import Pool
from portal.conftest import OPEN
from portal.made_calls import make_calls
from portal.visitors import Visitor


async def every_page(visitor: Visitor, pool: Pool) -> Mapping[str, str]:
    """Fills the visitor's pages; the path of each page that is opened by GET, by its route."""
    await visitor.open("/models")
    await visitor.submit("/subscriptions", model=OPEN)
    await visitor.open("/api-keys/new")
    await visitor.submit("/api-keys", name="a key")
    api_key = visitor.path
    user = (await visitor.open("/admin/users")).xpath("//table[@id='users']/tbody//a/@href")[0]
    await visitor.open("/admin/webhooks/new")
    await visitor.submit("/admin/webhooks", url="https://93.184.216.34/hook")
    webhook = visitor.path
    call, refused = await make_calls(pool)
    teams = [await _make_team(visitor, name) for name in ("mine", "other")]
    (limit,) = visitor.page.xpath("//input[@name='limit']/@value")
    # Of routes with a parameter.
    examples = {
        "/models/{name:path}": f"/models/{OPEN}",
        "/subscriptions/{id:int}": "/subscriptions/1",
        "/api-keys/{id:int}": api_key,
        "/api-keys/{id:int}/edit": f"{api_key}/edit",
        "/api-keys/{id:int}/limit": f"{api_key}/limit",
        "/limits/{id:int}/more": f"/limits/{limit}/more",
        "/teams/{id:int}": f"/teams/{teams[0]}",
        "/teams/{id:int}/{action}": f"/teams/{teams[0]}/invite",
        "/admin/teams/{id:int}": f"/admin/teams/{teams[1]}",
        "/admin/teams/{id:int}/{action}": f"/admin/teams/{teams[1]}/limit",
        "/admin/users/{id:int}": user,
        "/admin/users/{id:int}/anonymise": f"{user}/anonymise",
        "/admin/models/name/{name:path}": f"/admin/models/name/{OPEN}",
        "/admin/models/price/{name:path}": f"/admin/models/price/{OPEN}",
        "/usage/calls/{request_id}": f"/usage/calls/{call}",
        "/refusals/{request_id}": f"/refusals/{refused}",
        "/admin/webhooks/{id:int}": webhook,
    }
    return {route: examples.get(route, route) for route, (get, _) in PAGES.items() if get is not None}


async def _make_team(visitor: Visitor, name: str) -> str:
    """Its id."""
    await visitor.open("/admin/teams/new")
    await visitor.submit("/admin/teams/new", name=name, monthly_cost_usd="25.00")
    return visitor.path.rsplit("/", 1)[1]
