"""Credentials that were read before are found without working out their digests again; nothing else is."""

import asyncio
from typing import Final

import pytest

from gateway.authenticate import Authenticator, Credentials
from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.domain.keys import Peppers, new_key
from gateway.storage.changes import Listening
from gateway.storage.key_cache import KeyCache
from tests.unit.test_key_cache import RECORD

PEPPERS: Final = Peppers.parse("1:" + "ab" * 32 + ",2:" + "cd" * 32)
KEY: Final = new_key()
SENT: Final[Credentials] = [(b"authorization", b"Bearer " + KEY.encode())]


class Keys:
    """Those in Postgres, which is KEY alone until it is revoked."""

    def __init__(self) -> None:
        self.digests: set[bytes] = {b"".join(PEPPERS.digests(KEY))}
        self.cache = KeyCache(
            self.load, listening=lambda: Listening.GOOD, last_contact=lambda: 0.0, grace_s=0.0, patience_s=0.0
        )
        self.authenticator = Authenticator(PEPPERS, self.cache)

    async def load(self, digests: bytes) -> KeyRecord | None:
        return RECORD if digests in self.digests else None

    def answer(self, credentials: Credentials) -> KeyRecord | str:
        try:
            return asyncio.run(self.authenticator.find_record(credentials))
        except GatewayError as error:
            return error.code


@pytest.mark.parametrize("others", [[], [(b"x-api-key", b"another service's")]])
def test_a_key_is_found_as_often_as_it_is_sent(others: Credentials) -> None:
    keys = Keys()

    assert [keys.answer(SENT + others) for _ in range(3)] == [RECORD] * 3


def test_a_known_credential_opens_nothing_for_others() -> None:
    keys = Keys()
    assert keys.answer(SENT) is RECORD

    assert keys.answer([(b"authorization", b"Bearer " + new_key().encode())]) == "invalid_api_key"
    assert keys.answer([(b"authorization", b"Basic " + KEY.encode())]) == "invalid_api_key"
    assert keys.answer([*SENT, (b"x-api-key", new_key().encode())]) == "conflicting_api_keys"
    assert keys.answer([]) == "missing_api_key"


def test_a_known_credential_of_a_key_that_is_gone_is_refused() -> None:
    keys = Keys()
    assert keys.answer(SENT) is RECORD

    keys.digests.clear()
    keys.cache.invalidate("k", (RECORD.key_id,))

    assert keys.answer(SENT) == "invalid_api_key"


def test_no_key_is_kept() -> None:
    keys = Keys()
    keys.answer(SENT)

    assert KEY not in repr(vars(keys.authenticator))
    assert KEY.encode() not in b"".join([*keys.authenticator._digests, *keys.authenticator._digests.values()])
