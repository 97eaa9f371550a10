"""Sealed secrets: what opens them, and what does not."""

import pytest

from admin_api.encryption import EncryptionError, SecretKeys

ONE = "1:" + "0123456789abcdef" * 4
TWO = "2:" + "fedcba9876543210" * 4
SECRET = b"whsec_planted-secret"
# Sealed with the first of these keys before keys were derived: `whsec_planted-secret` for webhook 7.
OF_BEFORE = bytes.fromhex(
    "0001aabbdef18f11ec5c762767d7692e9b097acd295a8ae0812bc3c66abf45086d8ceb5dab7c6c62a43534479e4d42ef2817"
)


def test_a_secret_comes_back_and_is_not_in_what_is_stored() -> None:
    keys = SecretKeys.parse(ONE)

    encrypted = keys.encrypt(SECRET, purpose="webhook", row=7)

    assert keys.decrypt(encrypted, purpose="webhook", row=7) == SECRET
    assert SECRET not in encrypted
    assert keys.encrypt(SECRET, purpose="webhook", row=7) != encrypted


@pytest.mark.parametrize(("purpose", "row"), [("webhook", 8), ("provider", 7)])
def test_a_sealed_secret_copied_elsewhere_does_not_open(purpose: str, row: int) -> None:
    keys = SecretKeys.parse(ONE)
    encrypted = keys.encrypt(SECRET, purpose="webhook", row=7)

    with pytest.raises(EncryptionError, match="the row was changed"):
        keys.decrypt(encrypted, purpose=purpose, row=row)


def test_every_changed_byte_is_noticed() -> None:
    keys = SecretKeys.parse(ONE)
    encrypted = keys.encrypt(SECRET, purpose="webhook", row=7)

    for place in range(len(encrypted)):
        changed = bytearray(encrypted)
        changed[place] ^= 1
        with pytest.raises(EncryptionError):
            keys.decrypt(bytes(changed), purpose="webhook", row=7)


def test_the_newest_version_seals_and_older_ones_open() -> None:
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


def test_a_wrong_key_under_the_right_version_is_said_without_any_secret() -> None:
    encrypted = SecretKeys.parse(ONE).encrypt(SECRET, purpose="webhook", row=7)

    with pytest.raises(EncryptionError, match="holds another key") as caught:
        SecretKeys.parse("1" + TWO[1:]).decrypt(encrypted, purpose="webhook", row=7)

    assert SECRET.decode() not in str(caught.value)
    assert ONE[2:] not in repr(SecretKeys.parse(ONE))


@pytest.mark.parametrize("text", ["", "1:abc", "1:" + "ab" * 16, "1:" + "ab" * 32, f"{ONE},{ONE}", "0" + ONE[1:], "x"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hex|random|version"):
        SecretKeys.parse(text)


def test_what_was_sealed_with_the_key_itself_opens_and_wants_to_be_sealed_anew() -> None:
    keys = SecretKeys.parse(ONE)

    assert keys.decrypt(OF_BEFORE, purpose="webhook", row=7) == SECRET
    assert not keys.is_newest(OF_BEFORE)
    with pytest.raises(EncryptionError):
        keys.decrypt(OF_BEFORE, purpose="webhook", row=8)


def test_a_key_of_one_purpose_opens_nothing_of_another() -> None:
    # Not only the words beside it: what is sealed for one purpose is under another key.
    keys = SecretKeys.parse(ONE)
    derived = {keys._derive(1, purpose) for purpose in ("webhook", "session cookie", "login under way")}

    assert len(derived | {keys.keys[1]}) == 4


def test_a_signature_is_for_one_text_and_purpose_and_outlives_its_version() -> None:
    old, both = SecretKeys.parse(ONE), SecretKeys.parse(f"{ONE},{TWO}")
    signature = old.sign("lms-1", purpose="session cookie")

    assert both.is_signed("lms-1", signature, purpose="session cookie")
    assert both.sign("lms-1", purpose="session cookie") != signature
    wrong = [("lms-2", signature, "session cookie"), ("lms-1", signature, "other"), ("lms-1", "", "session cookie"),
             ("lms-1", signature[:-1], "session cookie"), ("lms-1", "ü", "session cookie")]  # fmt: skip
    assert not any(both.is_signed(text, given, purpose=purpose) for text, given, purpose in wrong)
    assert not SecretKeys.parse(TWO).is_signed("lms-1", signature, purpose="session cookie")
