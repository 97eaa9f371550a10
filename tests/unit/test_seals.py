"""Sealed secrets: what opens them, and what does not."""

import pytest

from admin_api.seals import SealError, SecretKeys, version_of

ONE = "1:" + "0123456789abcdef" * 4
TWO = "2:" + "fedcba9876543210" * 4
SECRET = "whsec_planted-secret"


def test_a_secret_comes_back_and_is_not_in_what_is_stored() -> None:
    keys = SecretKeys.parse(ONE)

    sealed = keys.seal(SECRET, purpose="webhook", row=7)

    assert keys.open(sealed, purpose="webhook", row=7) == SECRET
    assert SECRET.encode() not in sealed
    assert keys.seal(SECRET, purpose="webhook", row=7) != sealed


@pytest.mark.parametrize(("purpose", "row"), [("webhook", 8), ("provider", 7)])
def test_a_sealed_secret_copied_elsewhere_does_not_open(purpose: str, row: int) -> None:
    keys = SecretKeys.parse(ONE)
    sealed = keys.seal(SECRET, purpose="webhook", row=7)

    with pytest.raises(SealError, match="the row was changed"):
        keys.open(sealed, purpose=purpose, row=row)


def test_every_changed_byte_is_noticed() -> None:
    keys = SecretKeys.parse(ONE)
    sealed = keys.seal(SECRET, purpose="webhook", row=7)

    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealError):
            keys.open(bytes(changed), purpose="webhook", row=7)


def test_the_newest_version_seals_and_older_ones_open() -> None:
    old, both = SecretKeys.parse(ONE), SecretKeys.parse(f"{ONE},{TWO}")
    sealed = old.seal(SECRET, purpose="webhook", row=7)

    assert both.open(sealed, purpose="webhook", row=7) == SECRET
    assert version_of(both.seal(SECRET, purpose="webhook", row=7)) == 2
    with pytest.raises(SealError, match=r"version 1, which LITEMAAS_SECRET_KEYS does not have"):
        SecretKeys.parse(TWO).open(sealed, purpose="webhook", row=7)


def test_a_wrong_key_under_the_right_version_is_said_without_any_secret() -> None:
    sealed = SecretKeys.parse(ONE).seal(SECRET, purpose="webhook", row=7)

    with pytest.raises(SealError, match="holds another key") as caught:
        SecretKeys.parse("1" + TWO[1:]).open(sealed, purpose="webhook", row=7)

    assert SECRET not in str(caught.value)
    assert ONE[2:] not in repr(SecretKeys.parse(ONE))


@pytest.mark.parametrize("text", ["", "1:abc", "1:" + "ab" * 16, "1:" + "ab" * 32, f"{ONE},{ONE}", "0" + ONE[1:], "x"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hex|random|version"):
        SecretKeys.parse(text)
