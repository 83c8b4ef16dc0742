# Source this file: it puts the virtual environment, ROS 2 and this workspace into a bash shell.
_fer_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$_fer_root/.venv/bin/activate"
if [ -z "${ROS_DISTRO:-}" ]; then # no ROS distribution is sourced: the wheels in .venv are the underlay
  export AMENT_PREFIX_PATH="$_fer_root/.venv" CMAKE_PREFIX_PATH="$_fer_root/.venv"
fi
if [ -f "$_fer_root/install/local_setup.bash" ]; then
  . "$_fer_root/install/local_setup.bash"
  # Without this profile large images are lost between processes, see docs/perception.md. The user's own one stands.
  export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$_fer_root/src/fer_perception/config/fastdds.xml}"
fi
unset _fer_root
