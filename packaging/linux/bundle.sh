#!/usr/bin/env bash
# Makes a folder that runs on any x86-64 Linux with glibc 2.36 or newer: the installed tree with Qt
# and every library but glibc and the graphics driver beside it.
#   usage: bundle.sh INSTALLED OUT PARTS
# INSTALLED is an installed /usr; PARTS gets one line per foreign file: its path, Debian's package.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
installed=$1
out=$2
parts=$3
architecture=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
qt_plugins=/usr/lib/$architecture/qt6/plugins

# What Qt opens by name. Widgets need no OpenGL; icons are SVG.
plugins=(platforms/libqxcb.so platforms/libqoffscreen.so platforms/libqwayland-generic.so
  iconengines/libqsvgicon.so imageformats/libqsvg.so
  platforminputcontexts/libcomposeplatforminputcontextplugin.so
  platforminputcontexts/libibusplatforminputcontextplugin.so
  wayland-shell-integration/libxdg-shell.so wayland-decoration-client/libbradient.so)

# The system's own, never taken along.
never='^(ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv|libutil|libcuda|libnvidia.*)\.so'
fallback_group() { # library: the group it belongs to, if it is to be used only where it is missing
  case $1 in
  libEGL.so.* | libGL*.so.* | libOpenGL.so.*) echo opengl ;;
  libX11*.so.*) echo x11 ;;
  libxcb.so.* | libXau.so.* | libXdmcp.so.*) echo xcb ;;
  libwayland-*.so.*) echo wayland ;;
  libstdc++.so.* | libgcc_s.so.*) echo compiler ;;
  esac
}

rm -rf "$out" "$parts"
mkdir -p "$out"/{bin,lib,fallback,plugins,etc}
cp -a "$installed/bin/." "$out/bin/"
cp -a "$installed/share" "$out/share"

take() { # file on this machine, path in the bundle, Debian's package if it is known
  local source package=${3:-}
  mkdir -p "$out/$(dirname "$2")"
  cp -L "$1" "$out/$2"
  if [ -z "$package" ]; then
    # dpkg knows a file by the name it was packed with: with or without /usr, behind its link.
    source=$(readlink -f "$1")
    package=$(dpkg-query -S "$source" "${source#/usr}" "$1" "${1#/usr}" 2>/dev/null |
      sed -n '1s/[:,].*//p') || true
    [ -n "$package" ] || { echo "bundle.sh: no package owns $1" >&2; exit 1; }
  fi
  printf '%s\t%s\n' "$2" "$package" >>"$parts"
}

# --- libraries -----------------------------------------------------------------------------------
for plugin in "${plugins[@]}"; do
  take "$qt_plugins/$plugin" "plugins/$plugin"
done
while read -r name file; do
  [[ $name =~ $never ]] && continue
  group=$(fallback_group "$name")
  if [ -n "$group" ]; then
    take "$file" "fallback/$group/$name"
  else
    take "$file" "lib/$name"
  fi
done < <({ ldd "$out/bin/hybridscope"; ldd "${plugins[@]/#/$qt_plugins/}"; } |
  awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | LC_ALL=C sort -u)

# Each finds the others from where it lies: a library's search path is not that of what loads it.
search() { # path, files
  local path=$1
  shift
  local file
  for file in "$@"; do
    patchelf --set-rpath "$path" "$file"
  done
}
find "$out/lib" "$out/fallback" "$out/plugins" -type f -exec chmod 755 {} +
find "$out/lib" "$out/fallback" "$out/plugins" -type f -exec strip --strip-unneeded {} +
search '$ORIGIN/../lib' "$out/bin/hybridscope"
search '$ORIGIN' "$out"/lib/*
search '$ORIGIN:$ORIGIN/../../lib' "$out"/fallback/*/*
search '$ORIGIN/../../lib' "$out"/plugins/*/*
printf '[Paths]\nPrefix = ..\nPlugins = plugins\n' >"$out/bin/qt.conf"

# --- what libraries read -------------------------------------------------------------------------
while read -r file; do
  take "$file" "share/X11/xkb/${file#/usr/share/X11/xkb/}" xkb-data
done < <(find /usr/share/X11/xkb -type f ! -path '*/compiled/*' | LC_ALL=C sort)
for font in DejaVuSans DejaVuSans-Bold DejaVuSansMono DejaVuSansMono-Bold; do
  take "/usr/share/fonts/truetype/dejavu/$font.ttf" "share/fonts/$font.ttf" fonts-dejavu-core
done
cp "$here/fonts.conf" "$out/etc/fonts.conf"

# --- starting, installing, reading ---------------------------------------------------------------
cp "$here/launcher.sh" "$out/hybridscope"
ln -s bin/hybridscope-cli "$out/hybridscope-cli"
cp "$here/install.sh" "$out/install.sh"
cp "$here/../../LICENSE" "$out/LICENSE"
licences=$out/share/doc/hybridscope/licences
mkdir -p "$licences/common"
for package in $(cut -f 2 "$parts" | LC_ALL=C sort -u); do # one for all parts of a source
  # shellcheck disable=SC2016 # the field is dpkg's
  cp -L "/usr/share/doc/$package/copyright" \
    "$licences/$(dpkg-query -W -f '${source:Package}' "$package")"
done
cp -L /usr/share/common-licenses/{Apache-2.0,GPL-2,GPL-3,LGPL-2,LGPL-2.1,LGPL-3,MPL-1.1} \
  "$licences/common/"
chmod -R u=rwX,go=rX "$out"
chmod 755 "$out"/{hybridscope,install.sh}
