"""Rotates secrets: encrypts everything that is stored encrypted again with the newest key, so that older keys can be
removed."""

from typing import TYPE_CHECKING, Final

from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.models import provider_keys
from admin_api.operations.notifications import channels
from admin_api.storage import idempotency_keys, webhooks
from admin_api.storage import provider_keys as provider_key_rows

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Encryption purpose of a response stored for its Idempotency-Key.
ANSWER: Final = "idempotent answer"
BATCH_SIZE: Final = 200


def row_of_answer(*, caller: str, key: str) -> str:
    """The encryption context of such a response: no caller can read another caller's."""
    return f"{caller} {key}"


async def rotate_secrets(pool: "Pool", actor: Actor, keys: SecretKeys) -> int:
    """Encrypts every secret that is under an older key again, under the newest; returns how many. All or none: raises
    EncryptionError naming the first that cannot be decrypted."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        encrypted_again = 0
        for rotate in (_rotate_webhooks, _rotate_provider_keys, _rotate_answers):
            encrypted_again += await rotate(connection, keys)
        if encrypted_again:
            await note(connection, actor, "secrets.rotate", "secrets", "all", new={"sealed_anew": encrypted_again})
    return encrypted_again


async def _rotate_webhooks(executor: "Executor", keys: SecretKeys) -> int:
    count, after = 0, 0
    while found := await webhooks.list_webhooks(executor, after_id=after, limit=BATCH_SIZE):
        for webhook in found:
            # Read again under its lock: a secret changed meanwhile uses the newest key already.
            current = await webhooks.lock_webhook(executor, webhook.id)
            if current is None or keys.is_newest(current.secret):
                continue
            secret = keys.decrypt(current.secret, purpose=channels.PURPOSE, row=current.id)
            encrypted = keys.encrypt(secret, purpose=channels.PURPOSE, row=current.id)
            await webhooks.update_secret(executor, current.id, encrypted)
            count += 1
        after = found[-1].id
    return count


async def _rotate_provider_keys(executor: "Executor", keys: SecretKeys) -> int:
    await provider_key_rows.lock_provider_keys(executor)
    count, after = 0, 0
    while found := await provider_key_rows.list_provider_keys(executor, after_id=after, limit=BATCH_SIZE):
        for row in found:
            if not keys.is_newest(row.encrypted):
                value = keys.decrypt(row.encrypted, purpose=provider_keys.PURPOSE, row=row.name)
                encrypted = keys.encrypt(value, purpose=provider_keys.PURPOSE, row=row.name)
                await provider_key_rows.update_encrypted(executor, row.name, encrypted)
                count += 1
        after = found[-1].id
    return count


async def _rotate_answers(executor: "Executor", keys: SecretKeys) -> int:
    """Skips responses that cannot be decrypted: they are of no use and deleted within a day."""
    count, after = 0, ("", "")
    while found := await idempotency_keys.lock_answers(executor, after=after, limit=BATCH_SIZE):
        for kept in found:
            row = row_of_answer(caller=kept.caller, key=kept.key)
            try:
                answer = None if keys.is_newest(kept.answer) else keys.decrypt(kept.answer, purpose=ANSWER, row=row)
            except EncryptionError:
                continue
            if answer is not None:
                encrypted = keys.encrypt(answer, purpose=ANSWER, row=row)
                await idempotency_keys.update_answer(
                    executor, caller=kept.caller, key=kept.key, status=kept.status, answer=encrypted
                )
                count += 1
        after = (found[-1].caller, found[-1].key)
    return count
