#!/usr/bin/env bash
# Puts ROS 2 and this workspace into the environment, then runs the command.
set -e
# shellcheck disable=SC1090
. "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/env.sh"
exec "$@"
