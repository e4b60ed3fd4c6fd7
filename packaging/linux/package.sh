#!/usr/bin/env bash
# Makes and checks every package for Linux from a finished Release build: .deb, bundle (.tar.xz and
# .run), .rpm, AppImage, bill of materials, checksums. The same input gives the same bytes.
#   usage: package.sh BUILD OUT
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
# shellcheck source=/dev/null
. "$build/packaging/release.sh" # version, app_id, SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC
umask 022
work=$build/packaging/stage
rm -rf "$work"
mkdir -p "$work"
name=hybridscope-$version-linux-x86_64

say() { printf '  %s\n' "$*"; }

stamp() { # folder: every file gets the time of the release
  find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# --- the installed tree --------------------------------------------------------------------------
say "installed tree"
DESTDIR=$work/installed cmake --install "$build" --prefix /usr --strip >"$work/install.log" ||
  { cat "$work/install.log"; exit 1; }
usr=$work/installed/usr
share=$usr/share
desktop-file-validate "$share/applications/$app_id.desktop"
appstreamcli validate --no-net --pedantic "$share/metainfo/$app_id.metainfo.xml" >"$work/appstream.log" ||
  { cat "$work/appstream.log"; exit 1; }
xmllint --noout "$share/mime/packages/hybridscope.xml"
cp -r "$share/mime" "$work/mime"
update-mime-database "$work/mime" >/dev/null 2>"$work/mime.log"
grep -qx 'application/x-gguf:\*.gguf' "$work/mime/globs"
for page in "$share"/man/man1/*; do
  MANROFFSEQ='' MANWIDTH=100 man --warnings -E UTF-8 -l "$page" 2>"$work/man.log" >/dev/null
  [ ! -s "$work/man.log" ] || { cat "$work/man.log"; exit 1; }
done
bash -n "$share/bash-completion/completions/hybridscope-cli"

# --- Debian --------------------------------------------------------------------------------------
say "hybridscope_${version}_amd64.deb"
(cd "$build" && cpack -G DEB -B "$work/deb") >"$work/deb.log" 2>&1 || { cat "$work/deb.log"; exit 1; }
cp "$work/deb/hybridscope_${version}_amd64.deb" "$out/"
lintian --fail-on error,warning --allow-root "$out/hybridscope_${version}_amd64.deb"

# --- bundle --------------------------------------------------------------------------------------
say "$name.tar.xz"
"$here/bundle.sh" "$usr" "$work/$name" "$work/parts"
stamp "$work/$name"
tar -C "$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner -cf - "$name" |
  xz -T2 -6 >"$out/$name.tar.xz" # two threads always: their number is seen in the bytes
say "$name.run"
makeself --quiet --gzip --sha256 --nox11 \
  --tar-extra "--sort=name --format=gnu --owner=0 --group=0 --numeric-owner" \
  --packaging-date "$(date --utc -R --date="@$SOURCE_DATE_EPOCH")" \
  "$work/$name" "$out/$name.run" "Hybridscope $version" ./install.sh >"$work/run.log" 2>&1 ||
  { cat "$work/run.log"; exit 1; }

# --- rpm -----------------------------------------------------------------------------------------
say "hybridscope-$version-1.x86_64.rpm"
root=$work/rpm-root
home=$root/usr/libexec/hybridscope
mkdir -p "$root/usr/bin" "$root/usr/libexec" "$root/usr/share"
cp -a "$work/$name" "$home"
for folder in applications bash-completion doc icons man metainfo mime; do
  mv "$home/share/$folder" "$root/usr/share/"
done
rm "$home"/{install.sh,hybridscope-cli}
mv "$home/LICENSE" "$root/usr/share/doc/hybridscope/"
ln -s ../libexec/hybridscope/hybridscope "$root/usr/bin/hybridscope"
ln -s ../libexec/hybridscope/bin/hybridscope-cli "$root/usr/bin/hybridscope-cli"
stamp "$root"
rpmbuild -bb --quiet --target x86_64 --define "_topdir $work/rpm" --define "hs_root $root" \
  "$build/packaging/hybridscope.spec" >"$work/rpm.log" 2>&1 || { cat "$work/rpm.log"; exit 1; }
cp "$work/rpm/RPMS/x86_64/hybridscope-$version-1.x86_64.rpm" "$out/"
rpmlint --rpmlintrc "$here/rpmlintrc" "$out/hybridscope-$version-1.x86_64.rpm" \
  >"$work/rpmlint.log" 2>&1 || { cat "$work/rpmlint.log"; exit 1; }

# --- AppImage, Flatpak ---------------------------------------------------------------------------
say "$name.AppImage"
"$here/../appimage/make.sh" "$work/$name" "$app_id" "$out/$name.AppImage"
(cd "$work" && flatpak-builder --show-manifest "$build/packaging/$app_id.yml") >/dev/null

# --- what is in it -------------------------------------------------------------------------------
# Its lines are: file (none where it is compiled into a program), Debian's package.
materials() { # place, packages compiled in beside those of the program: writes its list
  local place=$1 package list=$work/$1-parts
  shift
  cp "$work/parts" "$list"
  printf '\t%s\n' libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev libhwy-dev \
    libpcre2-dev libsqlite3-dev libutf8proc-dev "$@" >>"$list"
  cut -f 2 "$list" | sort -u | while read -r package; do
    # shellcheck disable=SC2016 # the fields are dpkg's
    dpkg-query -W -f '${source:Package}\t${source:Version}' "$package"
    printf '\t%s\t%s\n' "/usr/share/doc/$package/copyright" \
      "$(awk -F '\t' -v package="$package" '$2 == package && $1 != ""' "$list" | wc -l)"
  done | awk -F '\t' -v OFS='\t' '
    { files[$1] += $4; version[$1] = $2; if (!($1 in copyright)) copyright[$1] = $3 }
    END { for (source in files) print source, version[source], copyright[source], files[source] }' |
    sort >"$work/$place-sources"
}
say "bills of materials, checksums"
materials bundle
HS_VERSION=$version python3 "$here/../sbom.py" bundle "$work/bundle-sources" "$name" \
  "$out/$name.spdx.json"
materials appimage libsquashfuse-dev libfuse3-dev liblzo2-dev libc6-dev
HS_VERSION=$version python3 "$here/../sbom.py" bundle,appimage "$work/appimage-sources" \
  "$name.AppImage" "$out/$name.AppImage.spdx.json"
"$here/../checksums.sh" "$out"
