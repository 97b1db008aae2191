"""The tokens and addresses that people give the commands."""

import pytest

from fleet.errors import Refused
from operations.gitlab_access import connect, token_in


@pytest.mark.parametrize(
    "value", ["", " ", "\n", "glpat-se cret", "glpat-se\ncret", "glpat-seécret", "glpat-se\tx"]
)
def test_what_no_header_can_carry_is_refused_unsaid(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP library would say it in its own error, token and all."""
    monkeypatch.setenv("MY_TOKEN", value)
    with pytest.raises(Refused, match="MY_TOKEN") as refused:
        token_in("MY_TOKEN")
    assert "glpat" not in str(refused.value)


@pytest.mark.parametrize("name", ["glpat-secret", "", "1A", "MY TOKEN", "MY_TOKEN=glpat"])
def test_the_error_does_not_repeat_a_token_in_place_of_the_variables_name(name: str) -> None:
    with pytest.raises(Refused) as refused:
        token_in(name)
    says = "give the name of an environment variable that holds the token"
    assert str(refused.value) == says


@pytest.mark.parametrize("url", ["", "gitlab.example.com", "ftp://x", "https://", "http://[x"])
def test_an_address_that_is_none_gets_no_token(url: str) -> None:
    """An empty one would be gitlab.com to the library under us."""
    with pytest.raises(Refused, match="write GitLab's address as https://"):
        connect(url, "glpat-1")


def test_an_address_is_called_as_it_is_written() -> None:
    gitlab = connect("https://gitlab.example.com/", "glpat-1")
    assert gitlab.api.url == "https://gitlab.example.com/"
