"""Variables that a job hands to later ones in a dotenv report."""

import gzip

import pytest

from local.gitlab.dotenv import DotenvError, read_dotenv

MANY = [f"V{n}={n}\n" for n in range(21)]


def read(text: str | bytes) -> dict[str, str]:
    content = text if isinstance(text, bytes) else text.encode()
    return read_dotenv(gzip.compress(content))


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nB=two words\r\n", {"A": "1", "B": "two words"}),
        ("A=x=y\n A = 2 \n", {"A": "2"}),
        ("A=\n", {"A": ""}),
        ('A="quoted" # no comment', {"A": '"quoted" # no comment'}),
        (b"\xef\xbb\xbfA=1\n", {"A": "1"}),
        ("".join(MANY[:20]), {f"V{n}": str(n) for n in range(20)}),
        ("", {}),
    ],
)
def test_each_line_is_a_variable(text: str | bytes, variables: dict[str, str]) -> None:
    assert read(text) == variables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "Invalid Format") for text in ("A=1\n\nB=2\n", "# comment\n", "export A")),
        *((text, "Key can contain only letters, digits and '_'.") for text in ("A B=1", "=1")),
        ("A=" + "x" * 5118, "Dotenv Artifact Too Big. Maximum Allowable Size: 5120"),
        ("".join(MANY), "Dotenv files cannot have more than 20 variables"),
    ],
)
def test_another_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(DotenvError) as refused:
        read(text)
    assert message in str(refused.value)


def test_what_is_not_packed_is_refused() -> None:
    with pytest.raises(DotenvError, match="Invalid Format"):
        read_dotenv(b"A=1\n")
