#!/usr/bin/env bash
# Boots one machine of the fleet: dead-man timer first, then the agent, then power off.
#
# Run by the instance's user data, which exports FLEET_MAILBOX_TABLE and FLEET_MAILBOX_KEY and may export
# FLEET_HOME (this checkout), FLEET_PYTHON and FLEET_DEAD_MAN_S.
# Every way out of this script ends the machine: its shutdown behaviour is "terminate".
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${FLEET_HOME:-$(dirname "$here")}
python=${FLEET_PYTHON:-$home/.venv/bin/python}
[ -x "$python" ] || python=python3

off() {
  trap '' TERM INT HUP
  trap - EXIT
  poweroff || poweroff -f
}
trap off EXIT
trap 'exit 143' TERM INT HUP

# The timer: within this time the agent must have learnt how long the machine may live, and written
# that (epoch seconds) to the file. Nothing that happens to this shell or to the agent stops it: it
# has its own session, and keeps the last time it read when the file is gone.
FLEET_DEAD_MAN=$(mktemp)
export FLEET_DEAD_MAN
echo $(($(date +%s) + ${FLEET_DEAD_MAN_S:-3600})) >"$FLEET_DEAD_MAN"
setsid bash -c '
  until=$2
  while read -r told <"$0" && until=$told; [ "$(date +%s)" -lt "$until" ]; do sleep "$1"; done
  rm -f "$0"
  poweroff -f
' "$FLEET_DEAD_MAN" "${FLEET_DEAD_MAN_EVERY_S:-5}" "$(cat "$FLEET_DEAD_MAN")" \
  </dev/null >/dev/null 2>&1 &

cd "$home" || exit 1
"$python" -m ec2_runner
