#!/usr/bin/env bash
# Sets the workspace up: virtual environment, ROS 2, Python packages, face model, colcon build.
#
#   scripts/setup.sh              what the nodes and the demo need
#   scripts/setup.sh view         what the nodes need, and what their view in a browser needs
#   scripts/setup.sh replay       what the nodes need, and what replay needs
#   scripts/setup.sh training     what the nodes need, and what training needs (torch)
#   scripts/setup.sh dev          all of it, and what the tests need
#
# Safe to run again: a step whose inputs have not changed is skipped. Called by the Makefile.
# ROS_DISTRO=jazzy takes ROS 2 Jazzy's wheels instead of Kilted's. A sourced ROS distribution is used as it is.
# PYTHON=python3.12 chooses the interpreter of a new virtual environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flavour=${1:-runtime}
alone=() # installed without what they depend on
case $flavour in
  runtime) requirements=(runtime) ;;
  view) requirements=(runtime view) ;;
  replay) requirements=(runtime replay) ;;
  training) requirements=(runtime training) ;;
  dev) requirements=(runtime view replay training docs dev) alone=(tensorrt) ;;
  *) echo "usage: scripts/setup.sh [runtime|view|replay|training|dev]" >&2; exit 2 ;;
esac
python=${PYTHON:-python3}
mkdir -p log
log=$PWD/log/setup.log
: >"$log"

fail() { # fail REMEDY: after the last lines of the log
  echo "failed"
  {
    tail -n 25 "$log"
    echo "setup failed in the step: $step_name (all of its output: log/setup.log)"
    echo "  what to do: $1"
  } >&2
  exit 1
}

step() { # step NAME REMEDY COMMAND...: a line with the time it took; its output goes to the log
  step_name=$1
  local remedy=$2 start=$SECONDS
  shift 2
  printf '==> %s ... ' "$step_name"
  echo "==> $step_name: $*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null || fail "$remedy"
  echo "$((SECONDS - start)) s"
}

# shellcheck source=scripts/underlay.sh
. scripts/underlay.sh || exit 2
venv=$fer_venv suffix=$fer_suffix prefix=$fer_prefix
stamps=$venv/.fer-setup

check_system() {
  $python -c '
import pathlib, sys, sysconfig, venv
assert (3, 10) <= sys.version_info < (3, 15), f"this is Python {sys.version.split()[0]}"
header = pathlib.Path(sysconfig.get_path("include"), "Python.h")
assert header.is_file(), f"{header} is missing"
' || return
  command -v "${CXX:-c++}" || { echo "no C++ compiler (c++) is found"; return 1; }
}

check_wheels() {
  [ -f "requirements/ros-$fer_underlay.txt" ] || { echo "there are no wheels of ROS 2 $fer_underlay"; return 1; }
  [ "$(uname -m)" = x86_64 ] || { echo "wheels of ROS exist for x86-64 only, this is $(uname -m)"; return 1; }
}

make_venv() {
  local options=(--clear)
  # The Python packages of a sourced distribution are seen through this and PYTHONPATH.
  if [ "$fer_sourced" = yes ]; then options+=(--system-site-packages); fi
  $python -m venv "${options[@]}" "$venv" && mkdir -p "$stamps" && echo "$fer_underlay" >"$stamps/underlay"
}

check_underlay() {
  local made_for
  made_for=$(cat "$stamps/underlay")
  [ "$made_for" = "$fer_underlay" ] || {
    echo "$venv was made for the ROS underlay '$made_for', this shell has '$fer_underlay'"
    return 1
  }
}

install_packages() {
  local arguments=("${constraints[@]}") name
  for name in "${requirements[@]}"; do
    if [ "$name" = view ] && [ ${#constraints[@]} -gt 0 ]; then continue; fi # rerun-sdk needs numpy 2
    arguments+=(-r "requirements/$name.txt")
  done
  "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "${arguments[@]}" || return
  for name in "${alone[@]}"; do
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-deps \
      -r "requirements/$name.txt" || return
  done
  if [ "$flavour" = dev ]; then "$venv/bin/python" scripts/repair_tensorrt_stubs.py || return; fi
  if [ "$fer_sourced" = no ]; then "$venv/bin/python" scripts/repair_ros_wheels.py || return; fi
  echo "$fingerprint" >"$stamps/$flavour"
}

check_libraries() { # wheels link to libraries of the system that a minimal one lacks
  "$venv/bin/python" -c '
import ctypes, cv2
from importlib.resources import files
ctypes.CDLL(str(files("mediapipe.tasks.c") / "libmediapipe.so"))
'
}

fetch_face_model() {
  PYTHONPATH="src/fer_perception${PYTHONPATH:+:$PYTHONPATH}" "$venv/bin/python" -m fer_perception fetch_face_model \
    src/fer_perception/models
}

build() { # through this interpreter, so that the executables it installs start with it
  set +u
  # shellcheck source=scripts/env.sh
  . scripts/env.sh
  set -u
  python -c 'import sys; from colcon_core.command import main; sys.exit(main())' --log-base "log$suffix" build \
    --build-base "build$suffix" --install-base "install$suffix" \
    --symlink-install --event-handlers console_cohesion- console_direct+ \
    --cmake-args -GNinja -DPython3_EXECUTABLE="$PWD/$venv/bin/python"
}

step "system: Python 3.10 to 3.14 with headers, C++ compiler" \
  "Debian, Ubuntu: apt install build-essential python3-dev python3-venv; or name another interpreter: PYTHON=python3.12 make setup" \
  check_system
if [ "$fer_sourced" = no ]; then
  step "ROS 2 $fer_underlay as wheels" \
    "ROS_DISTRO=kilted or jazzy on x86-64; elsewhere install ROS 2 (packages.ros.org) and source it" check_wheels
  requirements=("ros-$fer_underlay" "${requirements[@]}")
fi
if [ ! -e "$stamps/underlay" ]; then # also after a virtual environment that was not completed
  step "virtual environment $venv with $($python --version), ROS 2 underlay: $fer_underlay" \
    "install Python's venv module (Debian, Ubuntu: apt install python3-venv)" make_venv
fi
step "underlay of $venv" \
  "delete $venv, build$suffix and install$suffix, and run it again; or use the shell in which it was made" \
  check_underlay

inputs=() constraints=()
for name in "${requirements[@]}" "${alone[@]}"; do inputs+=("requirements/$name.txt"); done
# The compiled packages of a sourced distribution crash with another numpy than the one they were built with.
if [ "$fer_sourced" = yes ] && $python -c 'import numpy; raise SystemExit(numpy.__version__[:2] != "1.")' 2>>"$log"; then
  constraints=(-c requirements/constraints-ros.txt) inputs+=(requirements/constraints-ros.txt)
  case " ${requirements[*]} " in *" view "*)
    echo "warning: the view in a browser is left out: it needs numpy 2, this ROS distribution was built with numpy 1" ;;
  esac
fi
fingerprint=$(cat "${inputs[@]}" | sha256sum)
if [ "$(cat "$stamps/$flavour" 2>/dev/null)" != "$fingerprint" ]; then
  step "Python packages (${requirements[*]} ${alone[*]}), some minutes; tail -f log/setup.log shows more" \
    "check that a package index is reached (pip config list) and that 3 GB of disk are free, then run it again" \
    install_packages
fi
step "system libraries of MediaPipe and OpenCV" "Debian, Ubuntu: apt install libegl1 libgl1 libgles2 libglib2.0-0" \
  check_libraries
step "models of the face stage" "FER_MODELS=FOLDER, with face_landmarker.task in it, and run it again" fetch_face_model
if [ ! -f src/fer_perception/models/face_detection_yunet.onnx ]; then
  echo "warning: the face detector YuNet could not be fetched: people further away than some 1.3 m are not found." \
    "FER_MODELS=FOLDER, with its file in it, and run it again"
fi
step "colcon build" "read the error above; else delete build$suffix and install$suffix, and run it again" build
echo "==> ready. '${prefix}. scripts/env.sh' puts the workspace into a shell"
