"""Encryption of secrets: which key, purpose and row decrypt a ciphertext."""

import pytest

from admin_api.encryption import EncryptionError, SecretKeys

ONE = "1:" + "0123456789abcdef" * 4
TWO = "2:" + "fedcba9876543210" * 4
SECRET = b"whsec_planted-secret"
# Encrypted with the first of these keys before keys were derived: `whsec_planted-secret` for webhook 7.
UNDERIVED = bytes.fromhex(
    "0001aabbdef18f11ec5c762767d7692e9b097acd295a8ae0812bc3c66abf45086d8ceb5dab7c6c62a43534479e4d42ef2817"
)


def test_a_secret_decrypts_and_its_ciphertext_does_not_contain_it() -> None:
    keys = SecretKeys.parse(ONE)

    encrypted = keys.encrypt(SECRET, purpose="webhook", row=7)

    assert keys.decrypt(encrypted, purpose="webhook", row=7) == SECRET
    assert SECRET not in encrypted
    assert keys.encrypt(SECRET, purpose="webhook", row=7) != encrypted


@pytest.mark.parametrize(("purpose", "row"), [("webhook", 8), ("provider", 7)])
def test_a_ciphertext_copied_to_another_row_does_not_decrypt(purpose: str, row: int) -> None:
    keys = SecretKeys.parse(ONE)
    encrypted = keys.encrypt(SECRET, purpose="webhook", row=7)

    with pytest.raises(EncryptionError, match="the row was changed"):
        keys.decrypt(encrypted, purpose=purpose, row=row)


def test_any_changed_byte_is_detected() -> None:
    keys = SecretKeys.parse(ONE)
    encrypted = keys.encrypt(SECRET, purpose="webhook", row=7)

    for place in range(len(encrypted)):
        changed = bytearray(encrypted)
        changed[place] ^= 1
        with pytest.raises(EncryptionError):
            keys.decrypt(bytes(changed), purpose="webhook", row=7)


def test_the_newest_key_version_encrypts_and_older_ones_decrypt() -> None:
    old, both = SecretKeys.parse(ONE), SecretKeys.parse(f"{ONE},{TWO}")
    encrypted = old.encrypt(SECRET, purpose="webhook", row=7)

    assert both.decrypt(encrypted, purpose="webhook", row=7) == SECRET
    assert (
        SecretKeys.parse(TWO).decrypt(both.encrypt(SECRET, purpose="webhook", row=7), purpose="webhook", row=7)
        == SECRET
    )
    assert (both.is_newest(encrypted), old.is_newest(encrypted)) == (False, True)
    with pytest.raises(EncryptionError, match=r"version 1, which LITEMAAS_SECRET_KEYS does not have"):
        SecretKeys.parse(TWO).decrypt(encrypted, purpose="webhook", row=7)


def test_the_error_for_a_wrong_key_has_no_secret() -> None:
    encrypted = SecretKeys.parse(ONE).encrypt(SECRET, purpose="webhook", row=7)

    with pytest.raises(EncryptionError, match="has another key") as caught:
        SecretKeys.parse("1" + TWO[1:]).decrypt(encrypted, purpose="webhook", row=7)

    assert SECRET.decode() not in str(caught.value)
    assert ONE[2:] not in repr(SecretKeys.parse(ONE))


@pytest.mark.parametrize("text", ["", "1:abc", "1:" + "ab" * 16, "1:" + "ab" * 32, f"{ONE},{ONE}", "0" + ONE[1:], "x"])
def test_an_invalid_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hex|random|version"):
        SecretKeys.parse(text)


def test_a_ciphertext_of_the_underived_key_decrypts_and_is_due_for_reencryption() -> None:
    keys = SecretKeys.parse(ONE)

    assert keys.decrypt(UNDERIVED, purpose="webhook", row=7) == SECRET
    assert not keys.is_newest(UNDERIVED)
    with pytest.raises(EncryptionError):
        keys.decrypt(UNDERIVED, purpose="webhook", row=8)


def test_a_key_of_one_purpose_decrypts_nothing_of_another() -> None:
    # Not only the associated data differs: each purpose has a key of its own.
    keys = SecretKeys.parse(ONE)
    derived = {keys._derive(1, purpose) for purpose in ("webhook", "session cookie", "login under way")}

    assert len(derived | {keys.keys[1]}) == 4


def test_a_signature_holds_for_one_text_and_purpose_and_survives_key_rotation() -> None:
    old, both = SecretKeys.parse(ONE), SecretKeys.parse(f"{ONE},{TWO}")
    signature = old.sign("lms-1", purpose="session cookie")

    assert both.is_signed("lms-1", signature, purpose="session cookie")
    assert both.sign("lms-1", purpose="session cookie") != signature
    wrong = [("lms-2", signature, "session cookie"), ("lms-1", signature, "other"), ("lms-1", "", "session cookie"),
             ("lms-1", signature[:-1], "session cookie"), ("lms-1", "ü", "session cookie")]  # fmt: skip
    assert not any(both.is_signed(text, given, purpose=purpose) for text, given, purpose in wrong)
    assert not SecretKeys.parse(TWO).is_signed("lms-1", signature, purpose="session cookie")
