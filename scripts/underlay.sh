# shellcheck shell=bash disable=SC2034
# Source this file: it tells which ROS 2 this workspace stands on. Used by setup.sh and env.sh, from the top folder.
#   fer_sourced   yes: a sourced ROS distribution; no: wheels in the virtual environment
#   fer_underlay  its name, such as kilted
#   fer_venv, fer_suffix  the virtual environment, and what the names of build, install and log end in
#   fer_prefix    what to write before commands, such as "ROS_DISTRO=jazzy "
fer_sourced=no fer_underlay=${ROS_DISTRO:-kilted} fer_suffix='' fer_prefix=''
if [ "$fer_underlay" != kilted ]; then fer_suffix=-$fer_underlay fer_prefix="ROS_DISTRO=$fer_underlay "; fi
fer_venv=.venv$fer_suffix
_fer_prefixes=${AMENT_PREFIX_PATH:-}
while IFS= read -r _fer_prefix; do
  if [ -d "$_fer_prefix/.fer-setup" ] && [[ $_fer_prefix != "$PWD"/.venv* ]]; then
    echo "this shell holds another copy of this workspace, in ${_fer_prefix%/*}: use a new shell" >&2
    return 1
  fi
done <<<"${_fer_prefixes//:/$'\n'}"
unset _fer_prefix _fer_prefixes
case ":${AMENT_PREFIX_PATH:-}:" in
  :: | *":$PWD/$fer_venv:"*) ;; # none yet, or the one of this workspace that env.sh put into this shell
  *":$PWD/.venv"*)
    echo "this shell holds this workspace for another ROS 2 distribution than $fer_underlay: use a new shell" >&2
    return 1
    ;;
  *) fer_sourced=yes fer_underlay=${ROS_DISTRO:-unknown} fer_suffix='' fer_prefix='' fer_venv=.venv ;;
esac
