"""The proxy to GitLab, as programs read it from their environment."""

# What a machine reaches without it: its own metadata, itself, and AWS, as the agent does. Both
# spellings: curl reads `http_proxy` in small letters only, others the other one only.
DIRECTLY = "169.254.169.254,169.254.170.2,fd00:ec2::254,localhost,127.0.0.1,::1,.amazonaws.com"


def proxy_environment(proxy: str | None) -> dict[str, str]:
    """The variables that send gitlab-runner, git and jobs over a proxy; none without one."""
    if not proxy:
        return {}
    named = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": DIRECTLY}
    return named | {name.lower(): value for name, value in named.items()}
