"""Runs inside LiteLLM (`general_settings.custom_auth`): a key has its limit in its name, so that no database is needed.

`sk-tpm-6000-name` may take 6,000 tokens a minute; the master key has no limit.
"""

import re

from fastapi import Request
from litellm.proxy import proxy_server
from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth

LIMITED = re.compile(r"sk-tpm-(\d+)-[\w-]+")


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """The limits of the key for LiteLLM; raises a 401 for an unknown key."""
    if api_key == proxy_server.master_key:
        return UserAPIKeyAuth(api_key=api_key, user_role=LitellmUserRoles.PROXY_ADMIN)
    limited = LIMITED.fullmatch(api_key)
    if not limited:
        raise ProxyException("This key is not known.", "auth_error", "api_key", 401)
    return UserAPIKeyAuth(api_key=api_key, tpm_limit=int(limited[1]), user_role=LitellmUserRoles.INTERNAL_USER)
