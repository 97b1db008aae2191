import pytest

from fleet.config.secret_words import is_named_secret, looks_secret


@pytest.mark.parametrize(
    "text",
    [
        "glpat-1234567890abcdefghij",
        "glrt-t1_abcdefghij",
        "glptt-abcdefghijkl",
        "GR1348941abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "x=AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-123456789012-abcdefghijkl",
        "whsec_AAECAwQFBgcICQ",
        "-----BEGIN RSA PRIVATE KEY-----\nMII",
        "-----BEGIN PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
        "https://user:pa55word@registry.example.com/x",
        "postgres://app:s3cr3t@db:5432/app",
    ],
)
def test_what_looks_like_a_secret(text: str) -> None:
    assert looks_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "glass-house",
        "gitlab-runner",
        "registry.example.com/group/image:latest",
        "https://gitlab.example.com:8443/x@y",
        "https://proxy.example.com:3128",
        "http://$USER:$PASSWORD@proxy.example.com",
        "/var/run/docker.sock:/var/run/docker.sock",
        "AKIA",
        "-----BEGIN CERTIFICATE-----",
        "alpine@sha256:0123456789abcdef0123456789abcdef",
    ],
)
def test_looks_like_anything_else(text: str) -> None:
    assert not looks_secret(text)


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("NPM_TOKEN", "abcdef", True),
        ("password", "hunter2", True),
        ("DB_PASSWORD", "x y", True),
        ("API_KEY", "0a1b2c3d4e", True),
        ("NPM_TOKEN", "", False),
        ("NPM_TOKEN", "$OTHER", False),
        ("NPM_TOKEN", "/run/secrets/npm", False),
        ("USE_TOKEN", "true", False),
        ("TOKEN_URL", "https://example.com", False),
        ("SECRETARY", "anna", False),
        ("PATH", "/bin", False),
    ],
)
def test_is_named_secret(name: str, value: str, is_one: bool) -> None:
    assert is_named_secret(name, value) is is_one
