#!/usr/bin/env bash
# Makes an AppImage of the bundle: the runtime beside this script, then a compressed file system.
#   usage: make.sh BUNDLE APP_ID OUT         (SOURCE_DATE_EPOCH in the environment)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle=$1
app_id=$2
out=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gcc -O2 -Wall -Wextra -Werror -static -ffunction-sections -o "$work/runtime" "$here/runtime.c" \
  -lsquashfuse_ll -lsquashfuse -lfuse3 -lpthread -ldl -lzstd -llzma -llz4 -llzo2 -lz \
  -Wl,--gc-sections 2>"$work/link.log" || { cat "$work/link.log" >&2; exit 1; }
strip "$work/runtime"

cp -a "$bundle" "$work/AppDir"
cd "$work/AppDir"
rm install.sh
ln -s hybridscope AppRun
cp "share/applications/$app_id.desktop" .
cp "share/icons/hicolor/256x256/apps/$app_id.png" .
ln -s "$app_id.png" .DirIcon
cd "$work"
# 128 KiB blocks: larger ones are smaller together and slower to start from.
env -u SOURCE_DATE_EPOCH mksquashfs AppDir image -quiet -no-progress -root-owned -noappend -no-xattrs \
  -comp zstd -Xcompression-level 19 -b 131072 -processors 2 \
  -mkfs-time "$SOURCE_DATE_EPOCH" -all-time "$SOURCE_DATE_EPOCH" >/dev/null
# The mark of type 2, where ELF leaves room for it; the image follows the program without a gap.
printf 'AI\002' | dd of=runtime bs=1 seek=8 conv=notrunc status=none
cat runtime image >"$out"
chmod 755 "$out"
