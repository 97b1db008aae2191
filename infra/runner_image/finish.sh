#!/bin/bash
# finish.sh IMAGE: compiles the agent, writes the versions and the parts list down, and removes what no image keeps.
set -euo pipefail
home=/opt/runner-fleet
# Of botocore's data, which is for all services of AWS, keep what the agent and the function call.
find "$home/packages/botocore/data" -mindepth 1 -maxdepth 1 -type d \
  ! -name dynamodb ! -name kms ! -name sts -exec rm -r {} +
# Unchecked: Lambda starts faster when it need not look at the sources.
python3 -m compileall -q --invalidation-mode unchecked-hash "$home"
python3 "$home/versions.py" "$1" "$home"
rm -rf "$home/versions.py" "$home"/__pycache__
chmod -R a+rX,go-w "$home"

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/* /root/.cache /root/.npm /root/.config \
  /usr/share/doc/* /usr/share/man/* /usr/share/info/* /usr/share/locale/* /usr/share/lintian /package_manager.sh \
  /interpreters.sh /finish.sh
[ "$(stat --format '%u %a' /usr/bin/gitlab-runner)" = "0 711" ] || { echo "gitlab-runner is open to jobs" >&2; exit 1; }
