"""Which texts look like a secret, by the prefixes of their issuers."""

import re

# GitLab's tokens by their prefixes, keys of AWS and of other well-known services, private keys,
# JSON Web Tokens, and a password in an address. Source: the prefixes that their makers publish.
# Each repetition that may fail is bounded, so that a search takes linear time.
_LOOKS = re.compile(
    r"\b(?:gl[a-z]{1,8}-|GR1348941|_gitlab_session=)[\w.+/=-]{6,}"
    r"|\bwhsec_[\w+/=-]{6,}"
    r"|\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"
    r"|\b(?:gh[opsur]|github_pat|glsa|npm|pypi|dckr_pat|hf|shpat|xox[abeprs]|sk|rk|pk_live|AIza)"
    r"[_-][\w-]{16,}|\bAIza[\w-]{30,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\beyJ[\w-]{8,400}\.eyJ[\w-]{8}"
    r"|[a-z][a-z0-9+.-]{0,30}://[^\s/?#:@]*:[^\s/?#@$]+@",
    re.ASCII,
)
# Names of variables that mostly hold one, and values that do not: empty, a path, a switch, a
# reference to another variable.
_NAMES = re.compile(r"(?i)(?:^|_)(?:token|secret|password|passwd|private_key|api_?key|access_key)$")
_HARMLESS = re.compile(r"(?i)\s*|[./~].*|true|false|yes|no|\d{1,5}|.*\$\{?\w.*", re.DOTALL)


def looks_secret(text: str) -> bool:
    """Whether a text contains something of the form of a secret."""
    return _LOOKS.search(text) is not None


def is_named_secret(name: str, value: str) -> bool:
    """Whether a variable has a secret's name and a literal value."""
    return _NAMES.search(name) is not None and not _HARMLESS.fullmatch(value)
