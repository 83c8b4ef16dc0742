# shellcheck shell=bash disable=SC1090
# Source this file: it puts the virtual environment, ROS 2 and this workspace into a bash shell.
# With ROS_DISTRO=jazzy it is the workspace of 'make setup ROS_DISTRO=jazzy'.
_fer_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_fer_back=$PWD
cd "$_fer_root" || return
. scripts/underlay.sh || return
cd "$_fer_back" || return
. "$_fer_root/$fer_venv/bin/activate"
if [ "$fer_sourced" = no ]; then
  export AMENT_PREFIX_PATH="$_fer_root/$fer_venv" CMAKE_PREFIX_PATH="$_fer_root/$fer_venv" ROS_DISTRO="$fer_underlay"
fi
if [ -f "$_fer_root/install$fer_suffix/local_setup.bash" ]; then
  . "$_fer_root/install$fer_suffix/local_setup.bash"
fi
# Without this profile large images are lost between processes, see docs/perception.md. The user's own one stands.
case "${ROS_DISTRO:-}" in
  humble | iron | jazzy) _fer_variable=FASTRTPS_DEFAULT_PROFILES_FILE ;;
  *) _fer_variable=FASTDDS_DEFAULT_PROFILES_FILE ;;
esac
export "$_fer_variable=${!_fer_variable:-$_fer_root/src/fer_perception/config/fastdds.xml}"
unset _fer_root _fer_back _fer_variable fer_sourced fer_underlay fer_suffix fer_prefix fer_venv
