# Source this file: it puts the virtual environment, ROS 2 and this workspace into a bash shell.
_fer_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$_fer_root/.venv/bin/activate"
if [ "$(cat "$_fer_root/.venv/.fer-setup/underlay")" = wheels ]; then # else a sourced ROS distribution
  export AMENT_PREFIX_PATH="$_fer_root/.venv" CMAKE_PREFIX_PATH="$_fer_root/.venv"
fi
if [ -f "$_fer_root/install/local_setup.bash" ]; then
  . "$_fer_root/install/local_setup.bash"
fi
# Without this profile large images are lost between processes, see docs/perception.md. The user's own one stands.
case "${ROS_DISTRO:-}" in
  humble | iron | jazzy) _fer_variable=FASTRTPS_DEFAULT_PROFILES_FILE ;;
  *) _fer_variable=FASTDDS_DEFAULT_PROFILES_FILE ;;
esac
export "$_fer_variable=${!_fer_variable:-$_fer_root/src/fer_perception/config/fastdds.xml}"
unset _fer_root _fer_variable
