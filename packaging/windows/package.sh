#!/usr/bin/env bash
# Makes the installer and the portable archive from a finished build for Windows.
#   usage: package.sh BUILD OUT PREFIX    (PREFIX is where build_libraries.sh put the libraries)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
prefix=$(cd "$3" && pwd)
# shellcheck source=/dev/null
. "$build/packaging/release.sh" # version, SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC
umask 022
work=$build/packaging/stage
rm -rf "$work"
name=hybridscope-$version-windows-x86_64

cmake --install "$build" --prefix "$work/$name" --strip >/dev/null
# One file each: besides Windows' own there is nothing to find.
for program in "$work/$name"/bin/*.exe; do
  foreign=$(x86_64-w64-mingw32-objdump -p "$program" | sed -n 's/.*DLL Name: //p' |
    grep -iE '^(lib|qt|icu|zlib)' || true)
  [ -z "$foreign" ] || { echo "package.sh: $program asks for $foreign" >&2; exit 1; }
done
makensis -V2 -WX -INPUTCHARSET UTF8 -DVERSION="$version" -DSOURCE="$work/$name" \
  -DICON="$here/../../resources/icons/hybridscope.ico" -DOUT="$out/Hybridscope-Setup.exe" "$here/installer.nsi"

cp "$here/portable.cmd" "$work/$name/"
find "$work/$name" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
rm -f "$out/$name.zip"
(cd "$work" && find "$name" -type f | sort | zip -q -X -9 -@ "$out/$name.zip")
rm "$work/$name/portable.cmd" # what is staged is what is installed

# --- what is in it -------------------------------------------------------------------------------
part() { printf '%s\t%s\t%s\t0\n' "$@"; }
{
  for pair in pcre2:libpcre2-dev utf8proc:libutf8proc-dev sqlite3:libsqlite3-dev \
    qcustomplot:libqcustomplot-dev fmtlib:libfmt-dev spdlog:libspdlog-dev \
    nlohmann-json3:nlohmann-json3-dev cli11:libcli11-dev highway:libhwy-dev \
    mingw-w64:mingw-w64-x86-64-dev; do
    source=${pair%:*}
    folder=$prefix/sources/$source/debian
    if [ -d "$folder" ]; then
      part "$source" "$(dpkg-parsechangelog -l "$folder/changelog" -S Version)" "$folder/copyright"
    else # headers alone, or built elsewhere from the same release of Debian
      # shellcheck disable=SC2016 # the field is dpkg's
      part "$source" "$(dpkg-query -W -f '${source:Version}' "${pair#*:}")" \
        "/usr/share/doc/${pair#*:}/copyright"
    fi
  done
  part gcc-12 "$(x86_64-w64-mingw32-g++-posix -dumpfullversion)" /usr/share/doc/gcc-12-base/copyright
  # Qt's own copies of these are inside its static libraries.
  qt=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")/\1/p' \
    "$prefix/lib/cmake/Qt6Core/Qt6CoreConfigVersionImpl.cmake")
  for source in qt6-base double-conversion freetype harfbuzz libjpeg-turbo libpng1.6 md4c zlib; do
    part "$source" "$([ "$source" = qt6-base ] || echo "in Qt ")$qt" \
      /usr/share/doc/libqt6core6/copyright
  done
} >"$work/sources"
HS_VERSION=$version python3 "$here/../sbom.py" windows "$work/sources" "$name" "$out/$name.spdx.json"
"$here/../checksums.sh" "$out"
