"""The format of keys, the headers they are sent in, and request ids that contain their time."""

import hmac
import re
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authenticate import read_key
from gateway.domain.errors import GatewayError
from gateway.domain.ids import RequestIds, milliseconds_of, uuid7
from gateway.domain.keys import (
    ALPHABET,
    PERSONAL_PREFIX,
    PREFIX,
    Peppers,
    base62,
    is_well_formed,
    new_key,
    without_secrets,
)

KEY: Final = new_key()
OTHER: Final = new_key()
SECRETS: Final = ("ab" * 32, "cd" * 32)


def test_keys_have_the_documented_format_and_are_unique() -> None:
    keys = {new_key() for _ in range(1000)}

    assert len(keys) == 1000
    assert all(re.fullmatch(r"sk-lm-[0-9A-Za-z]{49}", key) and is_well_formed(key) for key in keys)


def test_a_changed_or_transposed_character_breaks_the_checksum() -> None:
    for place in range(len(PREFIX), len(KEY)):
        for letter in ALPHABET:
            typo = KEY[:place] + letter + KEY[place + 1 :]
            assert is_well_formed(typo) == (typo == KEY)
        swapped = KEY[:place] + KEY[place : place + 2][::-1] + KEY[place + 2 :]
        assert is_well_formed(swapped) == (swapped == KEY)


@settings(max_examples=50)
@given(st.text())
def test_other_texts_are_no_keys(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(KEY + text) or not text
    assert not is_well_formed(text + KEY) or not text


@pytest.mark.parametrize(
    "key",
    [KEY + "\n", " " + KEY, KEY[:-1], KEY + "0", KEY.upper(), KEY.replace("sk-lm-", "sk-")],
    ids=["line end", "space", "shorter", "longer", "upper case", "other prefix"],
)
def test_only_the_exact_format_is_a_key(key: str) -> None:
    assert not is_well_formed(key)


@settings(max_examples=50)
@given(st.integers(0, 2**256 - 1))
def test_base62_texts_of_different_numbers_differ(number: int) -> None:
    digits = base62(number, 43)

    assert len(digits) == 43
    value = 0
    for digit in digits:
        value = value * 62 + ALPHABET.index(digit)
    assert value == number


def test_the_highest_pepper_makes_digests_and_all_peppers_are_tried() -> None:
    both = Peppers.parse(f"1:{SECRETS[0]}, 2:{SECRETS[1]},")
    old = Peppers.parse(f"1:{SECRETS[0]}")

    assert both.newest == 2
    assert both.digests(KEY) == [both.digest(KEY, 2), old.digest(KEY, 1)]
    assert len({both.digest(KEY, 1), both.digest(KEY, 2), both.digest(OTHER, 2)}) == 3
    assert {len(digest) for digest in both.digests(KEY)} == {32}


def test_a_digest_is_the_hmac_with_the_pepper_each_time() -> None:
    peppers = Peppers.parse(f"1:{SECRETS[0]}")
    expected = hmac.digest(bytes.fromhex(SECRETS[0]), KEY.encode(), "sha256")

    assert [peppers.digest(KEY, 1), peppers.digest(KEY, 1)] == [expected, expected]


def test_base62_has_the_digits_of_the_number() -> None:
    number = 5 * 62**4 + 61 * 62**3 + 3

    assert [base62(number, 5), base62(number, 6)] == ["5z003", "05z003"]


def test_peppers_are_not_printed() -> None:
    assert SECRETS[0] not in repr(Peppers.parse(f"1:{SECRETS[0]}"))


@pytest.mark.parametrize("text", ["", ",", SECRETS[0], "x:" + SECRETS[0], "1:abcd", "1:xyz", "0:" + SECRETS[0],
                                  "-1:" + SECRETS[0], "32768:" + SECRETS[0], f"1:{SECRETS[0]},2:ab"])  # fmt: skip
def test_the_error_for_invalid_peppers_does_not_show_them(text: str) -> None:
    with pytest.raises(ValueError, match=r"pepper|write it as") as caught:
        Peppers.parse(text)

    assert SECRETS[0] not in str(caught.value)


# --- How a key is sent ---


def credentials(authorization: list[str], others: list[str]) -> list[tuple[bytes, bytes]]:
    named = [(b"authorization", value.encode()) for value in authorization]
    return named + [(b"x-api-key", value.encode()) for value in others]


@pytest.mark.parametrize(("authorization", "others"), [
    ([f"Bearer {KEY}"], []),
    ([f"bearer {KEY}"], []),
    ([f"BEARER   {KEY}  "], []),
    ([], [KEY]),
    ([f"Bearer {KEY}"], [KEY, f" {KEY} ", ""]),
    (["Bearer "], [KEY]),
])  # fmt: skip
def test_a_key_is_read_from_every_supported_header(authorization: list[str], others: list[str]) -> None:
    assert read_key(credentials(authorization, others)) == KEY


@pytest.mark.parametrize(("authorization", "others", "code"), [
    ([], [], "missing_api_key"),
    (["Bearer"], [""], "missing_api_key"),
    (["Bearer   "], [" "], "missing_api_key"),
    ([f"Basic {KEY}"], [], "invalid_api_key"),
    ([KEY], [], "invalid_api_key"),
    ([f"Bearer {KEY} {KEY}"], [], "invalid_api_key"),
    ([f"Bearer {KEY}", f"Bearer {OTHER}"], [], "conflicting_api_keys"),
    ([f"Bearer {KEY}"], [OTHER], "conflicting_api_keys"),
    ([], [KEY, OTHER], "conflicting_api_keys"),
    (["Bearer sk-1234"], [], "invalid_api_key"),
])  # fmt: skip
def test_a_missing_key_or_several_different_ones_are_refused(
    authorization: list[str], others: list[str], code: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        read_key(credentials(authorization, others))

    assert (caught.value.code, caught.value.status) == (code, 401)
    assert KEY not in caught.value.message
    assert caught.value.headers == {"www-authenticate": "Bearer"}


@pytest.mark.parametrize(("authorization", "others"), [
    (["Bearer sk-ant-oat-x"], [KEY]),
    (["Basic dXNlcjpwYXNz"], [KEY]),
    ([KEY], [KEY]),
    ([f"Bearer {KEY}"], ["nonsense", "sk-1234"]),
    ([f"Bearer {KEY}"], ["sk-lm-typo"]),
    (["Negotiate abc", f"Bearer {KEY}"], []),
])  # fmt: skip
def test_d9_credentials_of_other_services_beside_a_key_count_for_nothing(
    authorization: list[str], others: list[str]
) -> None:
    assert read_key(credentials(authorization, others)) == KEY


@pytest.mark.parametrize(("authorization", "others", "said"), [
    (["Bearer sk-ant-oat-secret"], [], "'authorization' has a credential of another form"),
    (["basic c2VjcmV0"], [], "'authorization' has the scheme Basic"),
    (["c2VjcmV0"], [], "'authorization' has a scheme that is not supported"),
    (["secret sk-1"], ["sk-secret"], "a scheme that is not supported, 'x-api-key' has a credential"),
    ([], ["sk-lm-secret"], "'x-api-key' has a key with a typo"),
    ([], ["lmp-secret"], "'x-api-key' has a personal access token"),
    ([f"Bearer {KEY}"], [OTHER], "different API keys in 'authorization' and 'x-api-key'"),
])  # fmt: skip
def test_d9_a_refusal_names_headers_and_never_a_value(authorization: list[str], others: list[str], said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_key(credentials(authorization, others))

    message = caught.value.message
    assert said in message
    assert not any(word in message for word in ("secret", "c2VjcmV0", KEY, OTHER))


# --- Ids ---


@settings(max_examples=50)
@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_an_ordered_uuid7_that_contains_its_time(ms: int, random: bytes) -> None:
    made = uuid7(ms, random)

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert milliseconds_of(made) == ms
    assert ms == 0 or uuid7(ms - 1, b"\xff" * 10) < made
    assert UUID(str(made)) == made


def test_ids_follow_the_clock_with_its_offset_and_are_unique() -> None:
    now = [1_800_000_000.0]
    ids = RequestIds(lambda: now[0])
    made = [ids.new() for _ in range(5000)]
    ids.offset_ms = -250
    now[0] += 1

    later = ids.new()

    assert len(set(made)) == 5000
    assert {milliseconds_of(i) for i in made} == {1_800_000_000_000}
    assert milliseconds_of(later) == 1_800_000_000_750


def test_a16_no_secret_is_left_in_a_text_that_is_kept() -> None:
    for prefix in (PREFIX, PERSONAL_PREFIX):
        key = new_key(prefix)
        for part in (key, key[:40], f"There is no model {key}.", f"{key},{key}"):
            assert key[8:20] not in without_secrets(part)
    assert without_secrets("the model sk-1 or gpt-5o-mini-2026-01-01") == "the model sk-1 or gpt-5o-mini-2026-01-01"
