"""Other programs' files, given as `fleet.toml`: one line that says what they are."""

import pytest

from fleet.config.reading import ConfigError, read_config

RUNNER = """
concurrent = 10
check_interval = 3

[[runners]]
  name = "builder"
  url = "https://gitlab.example.org/"
  token = "glrt-EXAMPLE123456"
  executor = "docker-autoscaler"
  [runners.docker]
    image = "alpine:3.20"
"""
AUTOSCALER = RUNNER + "  [runners.autoscaler]\n    plugin = 'aws'\n    max_instances = 10\n"
MACHINE = RUNNER + "  [runners.machine]\n    IdleCount = 2\n    MachineDriver = 'amazonec2'\n"
PIPELINE = "stages: [build]\n\nbuild:\n  stage: build\n  script:\n    - make\n"
JOBS = "unit:\n  script: make test\n  tags: [docker]\n"
COMPOSE = "services:\n  web:\n    image: nginx\n    ports: ['80:80']\n"
HELM = """\
gitlabUrl: https://gitlab.example.org/
runnerToken: "glrt-EXAMPLE123456"
runners:
  config: |
    [[runners]]
      [runners.kubernetes]
        namespace = "ci"
"""
TFVARS = 'aws_region = "eu-central-1"\nrunners_concurrent = 4\n'
HCL = 'module "runner" {\n  source = "x/y/z"\n}\n'
PYPROJECT = '[build-system]\nrequires = ["hatchling"]\n\n[project]\nname = "x"\n'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("config.toml", RUNNER, "config.toml of gitlab-runner"),
        ("fleet.toml", RUNNER, 'write [gitlab] with url = "https://gitlab.example.org"'),
        ("fleet.toml", AUTOSCALER, "max_instances is ceiling"),
        ("fleet.toml", MACHINE, "IdleCount is idle.count"),
        ("fleet.toml", "concurrent = 4\n", "write [gitlab] with url and"),
        ("fleet.toml", "[[runners]]\nurl = 5\n", "write [gitlab] with url and"),
        ("fleet.toml", "[[runners]]\nurl = 'https://a:b@c'\n", "write [gitlab] with url and"),
        ("fleet.toml", "runners = [1]\n", "config.toml of gitlab-runner"),
        ("fleet.toml", "concurrent = 1\nrunners = 5\n", "config.toml of gitlab-runner"),
        (".gitlab-ci.yml", "x: 1\n", "this is a pipeline (.gitlab-ci.yml)"),
        ("fleet.toml", PIPELINE, "this is a pipeline (.gitlab-ci.yml)"),
        ("fleet.toml", JOBS, "this is a pipeline (.gitlab-ci.yml)"),
        ("fleet.toml", COMPOSE, "this is YAML"),
        ("values.yaml", HELM, "these are values of gitlab-runner's Helm chart"),
        ("values.yaml", HELM.replace("gitlabUrl", "gitlab_url"), "Helm chart"),
        ("values.yaml", "a: https://b\nc: |\n  [d]\n  e = 1\n", "this is YAML"),
        ("terraform.tfvars", TFVARS, "variables of Terraform"),
        ("fleet.toml", TFVARS, 'it has "aws_region", "runners_concurrent", and neither'),
        ("main.tf", HCL, "this is Terraform"),
        ("fleet.toml", HCL, "this is Terraform"),
        ("a.tfvars", "a = <<EOT\nx\nEOT\n", "this is Terraform"),
        ("fleet.toml", '{"gitlab": {"url": "https://x"}}', "this is JSON"),
        ("fleet.toml", '[{"a": 1}]', "this is JSON"),
        ("pyproject.toml", PYPROJECT, "this is a pyproject.toml"),
        ("Cargo.toml", '[package]\nname = "x"\n', "this is a Cargo.toml"),
        ("fleet.toml", "GITLAB_URL=https://x\nexport A=b\n", "variables of a shell"),
        ("fleet.toml", "", "there is nothing in it"),
        ("fleet.toml", "\n# one day\n\n#[gitlab]\n", "there is nothing in it"),
        ("fleet.toml", "\ufeff", "there is nothing in it"),
        ("fleet.toml", "[servers.a]\nip = '10.0.0.1'\n", 'it has "servers", and neither'),
    ],
)
def test_a_line_has_its_meaning(name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(text, name=name)
    (problem,) = map(str, caught.value.problems)
    assert problem.startswith(f"{name} line 1: ")
    assert says in problem
    assert "EXAMPLE" not in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[gitlab\nurl: x\n", 1, "not TOML"),
        ("[pools.docker]\nbackend: ec2\n", 2, "not TOML"),
        ("{", 1, "not TOML"),
        ("[1, 2", 1, "not TOML"),
        ("url = https://x\n", 1, "not TOML"),
        ("[git-lab]\nurl = 'https://x'\n", 1, 'did you mean "gitlab"?'),
        ("[pool.docker]\nceiling = 1\n", 1, 'did you mean "pools"?'),
    ],
)
def test_a_mistake_in_a_fleet_file_is_named(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(text)
    problems = [str(problem) for problem in caught.value.problems]
    assert any(f"line {line}: " in text and says in text for text in problems), problems
