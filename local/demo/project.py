"""The sample repository of the demo: what its files say, and how each job must end."""

from collections.abc import Mapping
from dataclasses import dataclass

PATH = "acme/shop"

CONFIG = """\
# The fleet of a laptop: two back ends, small enough for one machine.
# Every key: docs/configuration.md. After a change: `runner-fleet apply` with this file.

[gitlab]
url = "{gitlab_url}"  # of this laptop; `local up` keeps it right
runners_in = "instance"
credentials = "per-machine"        # each machine is a runner of its own, deleted with it
calls_per_minute = 2000

[pools.docker]
backend = "ec2"                    # on a laptop: a process that stands for an instance
tags = ["ec2", "docker"]
instance_types = ["m7i.large", "m7a.large", "m6i.large"]
executor = "shell"                 # a process has no Docker engine; with --machines containers:
# docker = {{ socket = true }}     # `docker build` works, and each job can be root of its machine
ceiling = 4
max_lifetime = "1h"
max_job_time = "20m"

[pools.node]
backend = "lambda"                 # on a laptop: a process, too
tags = ["lambda", "node"]
size = "2GB"
ceiling = 4
max_job_time = "14m"
"""

_PIPELINE = """\
stages: [build, test, report]

web-build:
  stage: build
  tags: [lambda]
  script:
    - if command -v node >/dev/null; then node build.js; else sh build.sh; fi
    - test -s dist/index.html
  artifacts:
    paths: [dist/]
    expire_in: 1 hour

image-build:
  stage: build
  tags: [ec2]
  variables: {IMAGE: shop}
  script:
    - mkdir -p layers
    - tar -cf layers/app.tar src
    - sha256sum layers/app.tar | tee digest.txt
    - echo "built $IMAGE from $CI_COMMIT_SHORT_SHA on $(uname -s)"

unit:
  stage: test
  needs: []
  tags: [lambda]
  script:
    - if command -v node >/dev/null; then node --test; else sh check.sh; fi

fails-on-purpose:
  stage: test
  needs: []
  tags: [lambda]
  allow_failure: true
  script:
    - echo "this job shows how a failure looks"
    - exit 3

cancelled-by-a-person:
  stage: test
  needs: []
  tags: [ec2]
  script:
    - for second in $(seq 120); do echo "working, second $second"; sleep 1; done

served-by-nobody:
  stage: test
  needs: []
  tags: [gpu]
  script:
    - nvidia-smi

page-report:
  stage: report
  needs: [web-build, unit]
  tags: [lambda]
  script:
    - grep -q "Acme Shop" dist/index.html
    - wc -c dist/index.html
  after_script:
    - echo "ended as $CI_JOB_STATUS"
"""

FILES: Mapping[str, str] = {
    "README.md": "# Acme Shop\n\nThe sample project of the demo.\n",
    "package.json": '{"name": "acme-shop", "version": "1.0.0", "private": true}\n',
    "src/pages.json": '{"title": "Acme Shop", "items": ["anvil", "rocket skates"]}\n',
    "build.js": """\
const fs = require("fs");
const page = JSON.parse(fs.readFileSync("src/pages.json", "utf8"));
const items = page.items.map((item) => `<li>${item}</li>`).join("");
fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/index.html", `<h1>${page.title}</h1><ul>${items}</ul>\\n`);
console.log(`wrote dist/index.html with ${page.items.length} items`);
""",
    "pages.test.js": """\
const test = require("node:test");
const assert = require("node:assert");
const page = require("./src/pages.json");

test("every item has a name", () => {
  assert.ok(page.items.every((item) => item.length > 0));
});
""",
    "build.sh": "mkdir -p dist && echo '<h1>Acme Shop</h1>' > dist/index.html\n",
    "check.sh": "grep -q anvil src/pages.json\n",
}
PIPELINE: Mapping[str, str] = {".gitlab-ci.yml": _PIPELINE}

CANCELLED = "cancelled-by-a-person"
UNSERVED = "served-by-nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How a job of the sample must end."""

    status: str
    pool: str | None


EXPECTED: Mapping[str, Expected] = {
    "web-build": Expected(status="success", pool="node"),
    "image-build": Expected(status="success", pool="docker"),
    "unit": Expected(status="success", pool="node"),
    "fails-on-purpose": Expected(status="failed", pool="node"),
    CANCELLED: Expected(status="canceled", pool="docker"),
    UNSERVED: Expected(status="canceled", pool=None),
    "page-report": Expected(status="success", pool="node"),
}
