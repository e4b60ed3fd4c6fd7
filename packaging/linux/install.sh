#!/bin/sh
# Installs the self-contained Hybridscope from the folder it lies in, or removes it. Sessions and
# settings are kept apart from it and left alone.
#   install.sh [--prefix FOLDER] [--remove]
# As root it goes to /opt/hybridscope with its commands in /usr/local, for everyone; else below
# ~/.local, for you. --prefix FOLDER puts all of it below FOLDER.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
remove=
prefix=
while [ $# -gt 0 ]; do
  case $1 in
  --remove) remove=1 ;;
  --prefix)
    [ $# -gt 1 ] || { echo "install.sh: --prefix needs a folder" >&2; exit 2; }
    prefix=$2
    shift
    ;;
  *)
    echo "usage: install.sh [--prefix FOLDER] [--remove]" >&2
    exit 2
    ;;
  esac
  shift
done
if [ -n "$prefix" ]; then
  case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
  home=$prefix/opt/hybridscope
elif [ "$(id -u)" = 0 ]; then
  prefix=/usr/local
  home=/opt/hybridscope
else
  prefix=$HOME/.local
  home=$prefix/opt/hybridscope
fi
installed=$home/installed.txt # what lies outside $home, one path a line

forget() { # takes a former installation away
  if [ -f "$installed" ]; then
    while IFS= read -r file; do
      rm -f "$file"
    done <"$installed"
  fi
  rm -rf "$home"
}

refresh() { # tells the desktop, where its tools are
  for tool in "update-desktop-database $prefix/share/applications" \
    "update-mime-database $prefix/share/mime" \
    "gtk-update-icon-cache -q -t -f $prefix/share/icons/hicolor"; do
    command -v "${tool%% *}" >/dev/null 2>&1 && $tool >/dev/null 2>&1 || true
  done
}

if [ -n "$remove" ]; then
  if [ ! -f "$installed" ]; then
    echo "install.sh: Hybridscope is not installed in $home" >&2
    exit 1
  fi
  forget
  refresh
  echo "removed from $home; sessions and settings were left alone"
  exit 0
fi

if [ "$here" = "$home" ]; then
  echo "install.sh: this is the installed Hybridscope; --remove removes it" >&2
  exit 1
fi
if [ -e "$home" ] && [ ! -f "$installed" ]; then
  echo "install.sh: $home exists and was not made by install.sh; move it away first" >&2
  exit 1
fi
forget
mkdir -p "$home" "$prefix/bin"
cp -R -P -p "$here/." "$home/"
chmod 755 "$home" # what it was extracted to may have been for one person's eyes
: >"$installed"
note() { printf '%s\n' "$1" >>"$installed"; }
for program in hybridscope hybridscope-cli; do
  ln -sf "$home/$program" "$prefix/bin/$program"
  note "$prefix/bin/$program"
done
cd "$home/share"
find applications bash-completion icons man metainfo mime -type f | while IFS= read -r file; do
  mkdir -p "$prefix/share/$(dirname "$file")"
  case $file in
  *.desktop) sed "s|^Exec=hybridscope|Exec=\"$home/hybridscope\"|" "$file" >"$prefix/share/$file" ;;
  *) cp "$file" "$prefix/share/$file" ;;
  esac
  note "$prefix/share/$file"
done
refresh
echo "installed to $home; start it with $prefix/bin/hybridscope, remove it with" \
  "$home/install.sh --remove"
