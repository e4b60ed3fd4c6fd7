#!/usr/bin/env bash
# The AppImage in a clean system without Qt, X11, fonts or FUSE, where it extracts itself, and by
# FUSE where this machine has it.    usage: appimage.sh [SUITE]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
suite=${1:-bookworm}
image=$(package "hybridscope-$version-linux-x86_64.AppImage")
new_root "$suite"
home="/home/Zoë Müller"
cp "$image" "$root$home/hybridscope.AppImage"

step "extracted"
as_person "./hybridscope.AppImage --appimage-extract"
look_at_program ./hybridscope.AppImage squashfs-root/hybridscope-cli
leftovers=$(find "$root/tmp" -maxdepth 1 -name '.hybridscope-*')
[ -z "$leftovers" ] || fail "it left $leftovers"

if [ -e /dev/fuse ] && command -v fusermount3 >/dev/null; then
  step "by FUSE"
  TMPDIR=$root/tmp QT_QPA_PLATFORM=offscreen HOME=$root$home \
    "$image" --screenshot chat "$root$home/fuse.png"
  [ "$(wc -c <"$root$home/fuse.png")" -gt 20000 ] || fail "the picture is empty"
  for _ in 1 2 3 4 5 6 7 8 9 10; do # the server ends after the program
    leftovers=$(find "$root/tmp" -maxdepth 1 -name '.hybridscope-*')
    [ -z "$leftovers" ] && break
    sleep 1
  done
  [ -z "$leftovers" ] || fail "it left $leftovers"
else
  step "no FUSE on this machine: not tried"
fi
step "passed on $suite"
