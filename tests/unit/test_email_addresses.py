"""Spellings of one e-mail address have one form (S14)."""

import pytest

from admin_api.settings import Settings
from gateway.domain.email_addresses import MAX_LENGTH, is_literal, normalize_address

FORMS = {
    "upper case": "Fiona@Example.ORG",
    "spaces around": "  fiona@example.org\n",
    "a ligature": "\ufb01ona@example.org",
    "full-width letters": "\uff46\uff49\uff4f\uff4e\uff41@example.org",
    "mathematical letters": "\U0001d41f\U0001d422\U0001d428\U0001d427\U0001d41a@example.org",
    "a full-width @": "fiona\uff20example.org",
    "a full-width full stop": "fiona@example\uff0eorg",
    "an ideographic full stop": "fiona@example\u3002org",
    "a zero-width space in the host": "fiona@e\u200bxample.org",
    "a soft hyphen in the host": "fiona@exam\u00adple.org",
    "circled letters": "\u24d5iona@example.org",
}
LOOK_ALIKES = {
    "a Cyrillic letter": "fi\u043ena@example.org",
    "a dotless i": "f\u0131ona@example.org",
    "a Greek letter": "fi\u03bfna@example.org",
    "an Armenian letter": "fi\u0585na@example.org",
    "a zero-width space": "fi\u200bona@example.org",
    "a soft hyphen": "fi\u00adona@example.org",
    "an accent": "fi\u00f3na@example.org",
    "a combining accent": "fio\u0301na@example.org",
    "a right-to-left mark": "fiona\u200f@example.org",
    "a variation selector": "fiona\ufe0f@example.org",
    "a tag character": "fiona\U000e0061@example.org",
    "a host of mixed scripts": "fiona@ex\u0430mple.org",
    "the same as in DNS": "fiona@xn--exmple-4nf.org",
    "two @": "fiona\uff20evil@example.org",
    "a quoted part": '"fiona"@example.org',
    "a final full stop": "fiona@example.org.",
    "an empty label": "fiona@example..org",
    "an address literal": "fiona@[127.0.0.1]",
    "a comment": "fiona(x)@example.org",
    "no host": "fiona@",
    "a NUL": "fi\x00ona@example.org",
}


@pytest.mark.parametrize("form", FORMS)
def test_s14_every_form_of_an_address_is_the_same_address(form: str) -> None:
    assert normalize_address(FORMS[form]) == "fiona@example.org"


@pytest.mark.parametrize("form", LOOK_ALIKES)
def test_s14_what_only_looks_like_an_address_is_none(form: str) -> None:
    with pytest.raises(ValueError, match=r"name@host|before the @|after the @"):
        normalize_address(LOOK_ALIKES[form])


def test_s14_a_host_of_another_script_shows_what_it_is() -> None:
    assert normalize_address("fiona@\u0430\u0440\u0440\u04cf\u0435.com") == "fiona@xn--80ak6aa92e.com"
    assert normalize_address("fiona@B\u00fccher.de") == normalize_address("fiona@xn--bcher-kva.de")
    assert normalize_address("fiona@\u4f8b\u3048.jp") == "fiona@xn--r8jz45g.jp"


@pytest.mark.parametrize("address", ["a@b", "o'neil+x@sub.example.org", "a.b-c_d@1.example.org", "root@localhost"])
def test_usual_addresses_stay_as_they_are(address: str) -> None:
    assert normalize_address(address) == address
    assert is_literal(address)


def test_an_address_is_not_longer_than_the_database_takes() -> None:
    host = "@" + "x" * 60 + ".org"
    fits = "a" * (MAX_LENGTH - len(host)) + host

    assert normalize_address(fits) == fits
    with pytest.raises(ValueError, match="254"):
        normalize_address("a" + fits)


@pytest.mark.parametrize("address", ["mi\u212ae@example.org", "\ufb01ona@example.org", "fiona\uff20example.org"])
def test_s14_an_address_that_is_folded_is_not_literal(address: str) -> None:
    normalize_address(address)

    assert not is_literal(address)


def test_s14_initial_admins_are_compared_in_the_same_form() -> None:
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://a:b@c/d",
            "litellm_urls": "http://x",
            "litellm_api_key": "x",
            "key_peppers": "1:" + "ab" * 32,
            "secret_keys": "1:" + "0123456789abcdef" * 4,
            "admin_token": "0123456789abcdef" * 2,
            "initial_admins": " Root@Example.org ,ann@B\u00fccher.de",
        }
    )
    assert settings.initial_admins == ("root@example.org", "ann@xn--bcher-kva.de")
