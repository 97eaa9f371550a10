"""All users."""

from urllib.parse import urlencode

from admin_api.operations.people import users
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit

PAGE_ROWS = 50


async def show_list(visit: Visit) -> Page:
    """Filtered by a part of the name or address."""
    search = visit.query("search")
    page = await users.list_users(visit.pool, visit.actor, search=search, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    kept = {"search": search} if search else {}
    next_path = f"/admin/users?{urlencode(kept | {'cursor': page.next_cursor})}" if page.next_cursor else None
    context = {"rows": page.rows, "search": search or "", "next_path": next_path}
    return Page("admin_users.html", visit.messages.gettext("Users"), context)
