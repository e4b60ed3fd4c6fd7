#!/usr/bin/env bash
# The installer and the archive for Windows, under Wine with an X server: silent installation for one
# person and for all, start, chat, comparison, report, an older version below it, removal.
#   usage: windows.sh
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
packages=${HS_PACKAGES:-$tree/out/packages}
version=$(sed -n 's/^project(hybridscope VERSION \([0-9.]*\).*/\1/p' "$tree/CMakeLists.txt")
setup=$packages/Hybridscope-Setup.exe
archive=$packages/hybridscope-$version-windows-x86_64.zip
staged=${HS_BUILD_WINDOWS:-$tree/build-windows}/packaging

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}
step() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
for tool in wine Xvfb makensis unzip; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is missing"; exit 77; }
done
[ -e "$setup" ] && [ -e "$archive" ] || fail "no installer in $packages: ./dev windows makes it"

work=$(mktemp -d)
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=;winemenubuilder.exe=d" \
  USER=Zoë
unset LC_ALL
export LANG=C.UTF-8
Xvfb -displayfd 1 -screen 0 1400x900x24 -nolisten tcp >"$work/display" 2>/dev/null &
screen=$!
trap 'wineserver -k || true; kill "$screen" || true; rm -rf "$work"' EXIT
while [ ! -s "$work/display" ]; do sleep 0.2; done
DISPLAY=:$(cat "$work/display")
export DISPLAY
step "a fresh Wine"
wineboot -i >/dev/null 2>&1
drive=$WINEPREFIX/drive_c
home=$(echo "$drive"/users/Z*)
data=$home/AppData/Local/Hybridscope
links="AppData/Roaming/Microsoft/Windows/Start Menu/Programs/Hybridscope.lnk"
per_person=$home/AppData/Local/Programs/Hybridscope
for_all="$drive/Program Files/Hybridscope"

registered() { # hive, key: the value, or nothing
  wine reg query "$1\\$2" ${3:+/v "$3"} ${4:+/ve} 2>/dev/null | tr -d '\r'
}

installed() { # folder, hive
  [ -f "$1/bin/hybridscope.exe" ] && [ -f "$1/Uninstall.exe" ] || fail "nothing in $1"
  registered "$2" 'Software\Classes\Hybridscope.gguf\shell\open\command' '' ve |
    grep -q 'hybridscope.exe" "%1"' || fail ".gguf files are not opened with it"
  registered "$2" 'Software\Microsoft\Windows\CurrentVersion\Uninstall\Hybridscope' \
    DisplayVersion | grep -q "$3" || fail "version $3 is not registered"
}

gone() { # folder, hive
  [ ! -e "$1" ] || fail "left behind: $(find "$1" | head -n 5)"
  ! registered "$2" 'Software\Microsoft\Windows\CurrentVersion\Uninstall\Hybridscope' >/dev/null ||
    fail "still registered"
  ! registered "$2" 'Software\Classes\Hybridscope.gguf' >/dev/null || fail "still opens .gguf"
}

remove() { # folder, options: it runs as a copy of itself, so wait for the end of that
  local folder=$1
  shift
  wine "$folder/Uninstall.exe" /S "$@"
  wineserver -w
}

look_at_program() { # folder of the programs
  local answer
  step "versions, self-test"
  wine "$1/hybridscope-cli.exe" --version | grep -q "hybridscope-cli $version" || fail "version"
  wine "$1/hybridscope-cli.exe" selftest --threads 2 >"$work/selftest.txt" ||
    fail "selftest: $(tail -n 5 "$work/selftest.txt")"
  step "a chat with a bundled model"
  answer=$(wine "$1/hybridscope-cli.exe" generate hybridscope-ratio-1-3 --temp 0 -n 40 \
    -p 'What is a cello?' 2>/dev/null)
  case $answer in
  *instrument*) ;;
  *) fail "generate answered: $answer" ;;
  esac
  step "the window: compare, report, picture"
  rm -rf "$work/out"
  wine "$1/hybridscope.exe" --offscreen-demo "$(winepath -w "$work/out")" || fail "demonstration"
  grep -q '</html>' "$work/out/report.html" || fail "the report has no end"
  [ "$(wc -c <"$work/out/compare.png")" -gt 60000 ] || fail "the picture is empty"
  step "the window: chat"
  wine "$1/hybridscope.exe" --screenshot chat "$(winepath -w "$work/out/chat.png")" || fail "chat"
  [ "$(wc -c <"$work/out/chat.png")" -gt 20000 ] || fail "the picture is empty"
  if [ -n "${HS_KEEP:-}" ]; then
    cp "$work/out/"*.png "$work/out/report.html" "$HS_KEEP/"
  fi
}

step "an older version, for one person"
name=hybridscope-$version-windows-x86_64
makensis -V2 -INPUTCHARSET UTF8 -DVERSION=0.0.9 -DCOMPRESSOR=zlib -DSOURCE="$staged/stage/$name" \
  -DICON="$tree/resources/icons/hybridscope.ico" -DOUT="$work/old.exe" "$tree/packaging/windows/installer.nsi"
wine "$work/old.exe" /S /CurrentUser
installed "$per_person" HKCU 0.0.9
touch "$per_person/bin/from-an-older-version.dll"
wine "$per_person/bin/hybridscope.exe" --offscreen-demo "$(winepath -w "$work/old")"
before=$(wine "$per_person/bin/hybridscope-cli.exe" sessions list)
[ -s "$data/sessions.db" ] || fail "sessions are not in $data"

step "this version over it"
wine "$setup" /S /CurrentUser
installed "$per_person" HKCU "$version"
[ ! -e "$per_person/bin/from-an-older-version.dll" ] || fail "a file of the older version stayed"
[ "$(wine "$per_person/bin/hybridscope-cli.exe" sessions list)" = "$before" ] || fail "sessions changed"
[ -f "$home/$links" ] || fail "not in the start menu: $(find "$home" -name '*.lnk')"
look_at_program "$per_person/bin"

step "removal: sessions stay, then go when asked"
remove "$per_person" /CurrentUser
gone "$per_person" HKCU
[ ! -e "$home/$links" ] || fail "still in the start menu"
[ -s "$data/sessions.db" ] || fail "sessions went with the program"
wine "$setup" /S /CurrentUser
remove "$per_person" /CurrentUser /PURGE
gone "$per_person" HKCU
[ ! -e "$data" ] || fail "/PURGE left $data"

step "for everyone"
wine "$setup" /S /AllUsers
installed "$for_all" HKLM "$version"
wine "$for_all/bin/hybridscope-cli.exe" models | grep -q hybridscope-ratio-full || fail "no models"
remove "$for_all" /AllUsers
gone "$for_all" HKLM

step "the archive, in a folder with a blank and letters beyond ASCII"
mkdir "$work/Ein Ordner für 本"
unzip -q "$archive" -d "$work/Ein Ordner für 本"
wine "$work/Ein Ordner für 本/$name/bin/hybridscope-cli.exe" generate hybridscope-ratio-full \
  --temp 0 -n 20 -p 'What is a cello?' 2>/dev/null | grep -q instrument || fail "generate"
wine cmd /c "$(winepath -w "$work/Ein Ordner für 本/$name/portable.cmd")" --screenshot models \
  "$(winepath -w "$work/models.png")"
wineserver -w
[ -s "$work/Ein Ordner für 本/$name/data/sessions.db" ] || fail "portable.cmd kept nothing beside it"
step "passed"
