#!/bin/sh
# The function of the Lambda runners, with its locked packages. Its interpreter is Debian's, whatever a job chooses.
cd /opt/runner-fleet || exit 1
PYTHONPATH=/opt/runner-fleet:/opt/runner-fleet/packages exec /usr/bin/python3 -m awslambdaric "$@"
