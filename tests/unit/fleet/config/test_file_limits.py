"""Whatever the text: a configuration or a list of problems, soon, and nothing else."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from fleet.config.file_limits import DEEPEST, DIGITS, LARGEST, PARTS
from fleet.config.reading import POOLS_AT_MOST, ConfigError, FleetConfig, read_config

HEAD = '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "project:7"\n'
TAGS = "tags = ['{}']"
EC2 = 'backend = "ec2"\ninstance_types = ["m7i.large", "m7a.large"]\nceiling = 1\n'


def answer(text: str, name: str = "fleet.toml") -> list[str]:
    """What is wrong with a text."""
    with pytest.raises(ConfigError) as caught:
        read_config(text, name=name)
    return [str(problem) for problem in caught.value.problems]


def pool(name: str, keys: str = "") -> str:
    return f"[pools.{name}]\n{EC2}{keys or TAGS.format(name)}\n"


GOOD = HEAD + pool("docker")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (f"x = {'[' * 5000}", 1, f"nests more than {DEEPEST}"),
        (f"{HEAD}x = {'[' * 300}{']' * 300}\n", 4, f"nests more than {DEEPEST}"),
        (f"{HEAD}\nx = {'{a = ' * 3000}1{'}' * 3000}\n", 5, f"nests more than {DEEPEST}"),
        (f"{HEAD}x = {'9' * 5000}\n", 4, f"more than {DIGITS} digits"),
        (f"{HEAD}x = 0x{'9' * 5000}\n", 4, f"more than {DIGITS} digits"),
        (f"{HEAD}x = 1.{'9' * 5000}\n", 4, f"more than {DIGITS} digits"),
        (f"{HEAD}{'a.' * 5000}a = 1\n", 4, f"more than {PARTS} parts"),
        (HEAD + "[" + '"a" . ' * 5000 + "a]\n", 4, f"more than {PARTS} parts"),
        (f"{HEAD}x = {{ {'a.' * 5000}a = 1 }}\n", 4, f"more than {PARTS} parts"),
        (f"{HEAD}x = 1\x00\n", 4, "save it as UTF-8"),
        (HEAD.encode("utf-16-le").decode(), 1, "save it as UTF-8"),
        (HEAD + pool("a") + "#" * LARGEST, 1, f"more than the {LARGEST} bytes"),
        (HEAD + "".join(pool(f"p{n}") for n in range(20_000)), 1, f"more than the {LARGEST} bytes"),
    ],
)
def test_beyond_the_limits(text: str, line: int, says: str) -> None:
    (problem,) = answer(text)
    assert problem.startswith(f"fleet.toml line {line}: ")
    assert says in problem
    assert len(problem) < 200


@pytest.mark.parametrize(
    "value",
    [
        f'"{"[" * 300}{"9" * 300}{"a." * 300}"',
        f'"""\n{"[" * 300}\n{"{" * 300}"""',
        f"'{'[' * 300}' # {'[' * 300}",
        f"'''\n{'[' * 300}\\'''",
    ],
)
def test_what_stands_in_strings_and_comments_nests_nothing(value: str) -> None:
    assert read_config(f"{HEAD}{pool('a')}env.A = {value}\n").pools


def test_as_many_pools_as_gitlab_bears_are_read() -> None:
    compact = 'backend="lambda"\nceiling=1\n'
    pools = [f"[pools.p{n}]\n{compact}tags=['p{n}','a{n % 7}']\n" for n in range(POOLS_AT_MOST + 1)]
    assert len(read_config(HEAD + "".join(pools[:-1])).pools) == POOLS_AT_MOST
    (problem,) = answer(HEAD + "".join(pools))
    assert "at most 1000 work" in problem


def test_a_ring_of_overflows_is_a_problem_of_each_pool() -> None:
    pools = [pool(f"p{n}", f"tags = ['p{n}']\noverflow = 'p{(n + 1) % 90}'") for n in range(90)]
    problems = answer(HEAD + "".join(pools))
    assert len(problems) == 90
    assert all(len(line) < 200 for line in problems)


def is_refused(text: str) -> None:
    try:
        problems = read_config(text, instance_types={"m7i.large"}).warnings
    except ConfigError as error:
        problems = error.problems
        assert problems
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert len(str(problem)) < 2000


@settings(max_examples=60)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text(text: str) -> None:
    is_refused(text)


WORDS = (
    "gitlab pools docker node url runners_in tags ceiling backend idle schedule env image count "
    "docker.image max_lifetime watch projects instance_types subnets from to timezone days"
)
KEYS = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    st.one_of(
        st.integers(),
        st.floats().map(
            lambda x: {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(x), repr(x))
        ),
        st.booleans().map(lambda b: str(b).lower()),
        st.sampled_from(["2026-01-01", "08:00:00", "2026-11-26T08:00:00Z", "0x" + "f" * 90]),
        st.text(max_size=20).map(lambda text: json.dumps(text, ensure_ascii=True)),
        st.sampled_from(['"group:1"', '"ec2"', '"lambda"', '"1h"', '"99999d"', '"m7i.large"']),
    ).map(str),
    lambda each: st.one_of(
        st.lists(each, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(KEYS, each, max_size=3).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=120)
@given(
    st.lists(
        st.one_of(
            st.tuples(KEYS, VALUES).map(" = ".join),
            st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[{'.'.join(keys)}]"),
            st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[[{'.'.join(keys)}]]"),
        ),
        max_size=12,
    ),
    st.sampled_from(["", HEAD, HEAD + pool("docker")]),
)
def test_any_toml(lines: list[str], head: str) -> None:
    is_refused(head + "\n".join(lines))


@settings(max_examples=80)
@given(st.text(max_size=60))
def test_any_address(text: str) -> None:
    quoted = json.dumps("https://" + text)
    config = GOOD.replace('"https://gitlab.example.com"', quoted)
    is_refused(config)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://gitlab.example.com///", "https://gitlab.example.com"),
        ("HTTPS://GitLab.Example.COM:8443/", "https://gitlab.example.com:8443"),
        ("https://example.com/gitlab/", "https://example.com/gitlab"),
        ("https://example.com/tools/api-gateway", "https://example.com/tools/api-gateway"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://10.0.0.7:8080", "https://10.0.0.7:8080"),
        ("https://gitlab", "https://gitlab"),
        ("https://gitlab.example.com.", "https://gitlab.example.com."),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
        ("https://gitlab.com:443/", "https://gitlab.com:443"),
    ],
)
def test_addresses_that_work(written: str, read: str) -> None:
    config: FleetConfig = read_config(GOOD.replace("https://gitlab.example.com", written))
    assert config.gitlab.url == read


@pytest.mark.parametrize(
    "host", ["\u2026", "a" * 64, "a." * 127 + "aa", "a_b!", "ex ample", "[::1"]
)
def test_hosts_that_cannot_work(host: str) -> None:
    (problem,) = answer(GOOD.replace("https://gitlab.example.com", f"https://{host}"))
    assert "line 2: gitlab.url: must " in problem


def test_a_tag_of_two_alphabets_is_doubtful() -> None:
    (problem,) = read_config(HEAD + pool("a", 'tags = ["d\u043ecker", "bücher", "тест"]')).warnings
    assert (problem.path, problem.line) == ("pools.a.tags[0]", 8)
    assert "U+043E CYRILLIC SMALL LETTER O" in problem.message


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ("env = { A = 'glpat-abcdefghij1234' }", "env.A"),
        ("docker = { image = 'https://me:pa55@x/y' }", "docker.image"),
        ("docker = { volumes = ['/a:/b', 'AKIAIOSFODNN7EXAMPLE'] }", "docker.volumes[1]"),
        ("docker = { registry_mirror = 'https://me:pa55@x' }", "docker.registry_mirror"),
        ("tags = ['glrt-abcdefghij1234']", "tags[0]"),
    ],
)
def test_a_secret_is_refused_by_its_line_and_never_repeated(keys: str, path: str) -> None:
    keys = keys if keys.startswith("tags") else f"tags = ['a']\n{keys}"
    (problem,) = answer(HEAD + pool("a", keys))
    assert f"pools.a.{path}: holds what looks like a secret" in problem
    assert not any(secret in problem for secret in ("pa55", "abcdefghij", "EXAMPLE"))


def test_a_variable_that_is_called_like_a_secret_is_doubtful() -> None:
    keys = "tags = ['a']\nenv = { NPM_TOKEN = 'abc', HOME = '/root' }"
    (problem,) = read_config(HEAD + pool("a", keys)).warnings
    assert problem.path == "pools.a.env.NPM_TOKEN"


KNOWN = ("m7i.large", "m7i.xlarge", "m7a.large", "c7i.large")


@pytest.mark.parametrize(
    ("kind", "is_wrong", "says"),
    [
        ("m7i.xlarge", None, ""),
        ("m7i.larg", True, 'AWS has no "m7i.larg"; did you mean "m7i.large"?'),
        ("m7i.huge", True, 'AWS has no "m7i.huge"'),
        ("m99.large", False, 'is not in AWS\'s list of this version: "m99.large"'),
        ("x9z.metal", False, "x9z.metal"),
    ],
)
def test_instance_types_that_aws_lacks(kind: str, is_wrong: bool | None, says: str) -> None:
    text = (HEAD + pool("a")).replace('"m7a.large"', f'"{kind}"')
    assert not read_config(text).warnings, "without a list nothing is known"
    try:
        problems = read_config(text, instance_types=KNOWN).warnings
        assert not is_wrong
    except ConfigError as error:
        problems = error.problems
        assert is_wrong
    assert len(problems) == (is_wrong is not None)
    for problem in problems:
        assert problem.path == "pools.a.instance_types[1]"
        assert says in str(problem)
