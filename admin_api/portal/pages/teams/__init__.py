"""Teams: a person's own, one team, and for admins all of them."""

from admin_api.portal.pages.teams import acts, forms, lists, team

__all__ = ["acts", "forms", "lists", "team"]
