"""Signatures: what the specifications publish is verified, and nothing else is.

The vectors are those of the documents that define the schemes, word for word.
"""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard import Callback, Callbacks, Genuine, Hmac, SecretRef, SharedSecret
from outboard.errors import ContractViolation, InvalidSettings

KEY = SecretRef("hook_key")
# https://docs.svix.com/receiving/verifying-payloads/how-manual
SVIX_KEY = "whsec_plJ3nmyCDGBKInavdOK15jsl"
SVIX = Callback(
    body=b'{"event_type":"ping","data":{"success":true}}',
    headers={
        "webhook-id": "msg_loFOjxBNrRLzqYUf",
        "webhook-timestamp": "1731705121",
        "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    },
)
STANDARD = Callbacks.standard_webhooks(KEY).scheme
# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
GITHUB_KEY = "It's a Secret to Everybody"
GITHUB = Callback(
    body=b"Hello, World!",
    headers={"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
)
# https://api.slack.com/authentication/verifying-requests-from-slack
SLACK_KEY = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK = Callback(
    body=(
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    ),
    headers={
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
)


def altered(callback: Callback, *, body: bytes | None = None, **headers: str) -> Callback:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Callback(body=callback.body if body is None else body, headers={**callback.headers, **changed})


def test_the_vector_of_standard_webhooks_is_genuine() -> None:
    assert STANDARD.verify(SVIX, [SVIX_KEY]) == Genuine(event="msg_loFOjxBNrRLzqYUf", sent_at=1731705121.0)


def test_the_vector_of_svix_own_library_is_genuine_under_its_own_headers() -> None:
    callback = Callback(
        body=b'{"test": 2432232314}',
        headers={
            "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "svix-timestamp": "1614265330",
            "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
    )
    scheme = Callbacks.standard_webhooks(KEY, prefix="svix-").scheme
    assert scheme.verify(callback, ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]) is not None


def test_the_example_of_github_is_genuine() -> None:
    genuine = Callbacks.github(KEY).scheme.verify(GITHUB, [GITHUB_KEY])
    assert genuine == Genuine(event=hashlib.sha256(GITHUB.body).hexdigest(), sent_at=None)


def test_the_example_of_slack_is_genuine() -> None:
    genuine = Callbacks.slack(KEY).scheme.verify(SLACK, [SLACK_KEY])
    assert genuine is not None
    assert genuine.sent_at == 1531420618.0


@pytest.mark.parametrize(
    "forged",
    [
        altered(SVIX, body=SVIX.body + b" "),
        altered(SVIX, webhook_id="msg_another"),
        altered(SVIX, webhook_timestamp="1731705122"),
        altered(SVIX, webhook_timestamp=" 1731705121"),
        altered(SVIX, webhook_timestamp="-1"),
        altered(SVIX, webhook_timestamp="\u0661\u0667"),
        altered(SVIX, webhook_timestamp=""),
        altered(SVIX, webhook_id=""),
        altered(SVIX, webhook_id="x" * 100_000),
        altered(SVIX, webhook_signature=""),
        altered(SVIX, webhook_signature="v1,"),
        altered(SVIX, webhook_signature="rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
        altered(SVIX, webhook_signature="v2,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
        altered(SVIX, webhook_signature="v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0"),
        altered(SVIX, webhook_signature="v1,\udcff"),
        Callback(body=b""),
    ],
)
def test_whatever_is_changed_proves_nothing(forged: Callback) -> None:
    assert STANDARD.verify(forged, [SVIX_KEY]) is None


def test_one_fitting_signature_among_others_is_enough_as_senders_rotate_their_keys() -> None:
    other = base64.b64encode(b"x" * 32).decode()
    good = SVIX.headers["webhook-signature"]
    rotating = altered(SVIX, webhook_signature=f"v1a,{other} v1,{other} {good}")
    assert STANDARD.verify(rotating, [SVIX_KEY]) is not None


def test_a_ninth_signature_is_not_looked_at() -> None:
    other = base64.b64encode(b"x" * 32).decode()
    good = SVIX.headers["webhook-signature"]
    assert STANDARD.verify(altered(SVIX, webhook_signature=" ".join([f"v1,{other}"] * 8 + [good])), [SVIX_KEY]) is None


def test_any_of_several_keys_is_good_as_receivers_rotate_theirs() -> None:
    assert STANDARD.verify(SVIX, ["whsec_bmV3ZXIga2V5", SVIX_KEY]) is not None
    assert STANDARD.verify(SVIX, ["whsec_bmV3ZXIga2V5"]) is None


def test_a_key_that_is_none_stands_in_no_others_way() -> None:
    assert STANDARD.verify(SVIX, ["whsec_!", SVIX_KEY]) is not None


@pytest.mark.parametrize("key", ["whsec_!", "whsec_", "not base64"])
def test_without_any_usable_key_the_operator_is_told_and_nothing_is_genuine(key: str) -> None:
    empty = base64.b64encode(hmac.digest(b"", b"msg_loFOjxBNrRLzqYUf.1731705121." + SVIX.body, "sha256")).decode()
    with pytest.raises(InvalidSettings, match="no key of these callbacks is base64"):
        STANDARD.verify(altered(SVIX, webhook_signature=f"v1,{empty}"), [key])


def test_one_signature_cannot_be_read_as_that_of_another_event() -> None:
    """`a.1.2.x` is what is signed of event `a` at 1 with body `2.x`, and of event `a.1` at 2 with body `x`."""
    key = base64.b64encode(b"some key").decode()
    signature = "v1," + base64.b64encode(hmac.digest(b"some key", b"a.1.2.x", "sha256")).decode()
    headers = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": signature}
    assert STANDARD.verify(Callback(body=b"2.x", headers=headers), [key]) is not None
    shifted = {**headers, "webhook-id": "a.1", "webhook-timestamp": "2"}
    assert STANDARD.verify(Callback(body=b"x", headers=shifted), [key]) is None


@given(
    body=st.binary(max_size=200),
    key=st.binary(min_size=1, max_size=40),
    event=st.text("abcXYZ019_-", min_size=1, max_size=30),
    when=st.integers(0, 10**11),
)
def test_what_is_signed_as_the_specification_says_is_genuine(body: bytes, key: bytes, event: str, when: int) -> None:
    digest = hmac.new(key, f"{event}.{when}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(when),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    written = "whsec_" + base64.b64encode(key).decode()
    assert STANDARD.verify(Callback(body=body, headers=headers), [written]) == Genuine(event=event, sent_at=when)


HEADERS = st.dictionaries(
    st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256", "authorization"]),
    st.text(max_size=80),
)


@given(
    body=st.binary(max_size=100),
    headers=HEADERS,
    declared=st.sampled_from(
        [
            Callbacks.standard_webhooks(KEY),
            Callbacks.github(KEY),
            Callbacks.slack(KEY),
            Callbacks.bearer(KEY),
            Callbacks.basic(KEY),
            Callbacks.in_query("token", KEY),
        ]
    ),
)
def test_nothing_that_a_stranger_makes_up_is_genuine_or_raises(
    body: bytes, headers: dict[str, str], declared: Callbacks
) -> None:
    key = "c29tZSBrZXkgdGhhdCBub2JvZHkga25vd3M="
    assert declared.scheme.verify(Callback(body=body, headers=headers), [key]) is None


@pytest.mark.parametrize(
    ("declared", "callback"),
    [
        (Callbacks.bearer(KEY), Callback(body=b"", headers={"authorization": "Bearer user:word"})),
        (Callbacks.bearer(KEY), Callback(body=b"", headers={"authorization": "bearer user:word"})),
        (Callbacks.basic(KEY), Callback(body=b"", headers={"authorization": "Basic dXNlcjp3b3Jk"})),
        (Callbacks.in_header("X-Key", KEY), Callback(body=b"", headers={"x-key": "user:word"})),
        (Callbacks.in_query("token", KEY), Callback(body=b"", query={"token": "user:word"})),
    ],
)
def test_a_shared_secret_is_good_where_it_belongs_and_nowhere_else(declared: Callbacks, callback: Callback) -> None:
    assert declared.scheme.verify(callback, ["other", "user:word"]) == Genuine()
    assert declared.scheme.verify(callback, ["other"]) is None
    assert declared.scheme.verify(callback, ["user:wor"]) is None
    assert declared.scheme.verify(Callback(body=b"user:word"), ["user:word"]) is None
    assert declared.scheme.verify(Callback(body=b""), [""]) is None
    others = Callback(body=b"", headers={name: f"Another{value[7:]}" for name, value in callback.headers.items()})
    assert declared.scheme.verify(others, ["user:word"]) is None


def test_a_shared_secret_tells_events_apart_where_a_header_names_them() -> None:
    scheme = SharedSecret(header="x-key", event_id="X-Event")
    genuine = scheme.verify(Callback(body=b"", headers={"x-key": "k", "x-event": "e1"}), ["k"])
    assert genuine == Genuine(event="e1")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Hmac(content="{x-time}", header="x-s"), "does not cover the body"),
        (lambda: Hmac(content="{body}", header="x-s", event_id="x-id"), "x-id is not signed"),
        (SharedSecret, "give one of them"),
        (lambda: SharedSecret(header="a", query="b"), "give one of them"),
        (Callbacks.github, "at least one key"),
        (lambda: Callbacks(scheme=STANDARD, keys=("k",)), "at least one key"),  # type: ignore[arg-type]
    ],
)
def test_a_declaration_that_protects_nobody_is_refused(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ContractViolation, match=words):
        make()
