#!/bin/sh
# Starts Hybridscope with the libraries of this folder. What has to match the host's graphics driver
# or compiler lies in groups under fallback/ and is used only where the host lacks it.
here=$(dirname "$(readlink -f "$0")")

host_has() {
  for folder in /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64 /lib /usr/lib; do
    [ -e "$folder/$1" ] && return 0
  done
  return 1
}

added=
for group in "$here"/fallback/*; do
  for library in "$group"/*; do
    if ! host_has "${library##*/}"; then
      added=$group${added:+:$added}
      break
    fi
  done
done
if [ -n "$added" ]; then
  LD_LIBRARY_PATH=$added${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
fi
if [ ! -e /etc/fonts/fonts.conf ]; then
  FONTCONFIG_FILE=$here/etc/fonts.conf
  export FONTCONFIG_FILE
fi
if [ ! -d /usr/share/X11/xkb ]; then
  XKB_CONFIG_ROOT=$here/share/X11/xkb
  export XKB_CONFIG_ROOT
fi
exec "$here/bin/hybridscope" "$@"
