#!/bin/bash
# The command with which gitlab-runner starts its helper container: a shell that reads a script from its input.
exec /bin/bash
