"""Secrets are told by name and by form."""

import pytest

from outboard.domain.secret_refs import is_secret_name, is_secret_value, redact_forms


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "dbPassword",
        "access_token",
        "accessToken",
        "api_key",
        "apiKey",
        "client-secret",
        "privateKey",
        "AUTH",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["id", "tokenizer", "author", "keyboard", "passenger", "job_name", "secretary", "monkey"]
)
def test_ordinary_names(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    [
        "dapi0123456789abcdef0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig",
        "key-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig",
        "postgres://u:p4ss@host/db",
        "Authorization: Bearer abcdefghijklmnopqrstuv",
    ],
)
def test_forms_of_secrets_are_seen_and_redacted(value: str) -> None:
    assert is_secret_value(value)
    assert "[redacted]" in redact_forms(f"it said {value} and went on")


@pytest.mark.parametrize("value", ["s3://bucket/key", "https://example.com:8443/a@b", "job-123", "SELECT 1"])
def test_ordinary_values(value: str) -> None:
    assert not is_secret_value(value)


def test_a_text_made_of_beginnings_of_tokens_is_read_once() -> None:
    """Looked at from each beginning anew, these two megabytes would take longer than any test run."""
    text = "eyJaaaaaaaa-" * 170_000
    assert redact_forms(text) == text
    assert not is_secret_value(text)
