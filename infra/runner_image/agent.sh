#!/bin/sh
# The agent of an EC2 machine, with its locked packages.
cd /opt/runner-fleet || exit 1
PYTHONPATH=/opt/runner-fleet:/opt/runner-fleet/packages exec /usr/bin/python3 -m ec2_runner "$@"
