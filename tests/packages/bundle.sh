#!/usr/bin/env bash
# The bundle, unpacked and started where it lies, in a clean system without Qt, X11 or fonts; then
# on a screen: every library that X11 needs is there too.    usage: bundle.sh [SUITE]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
suite=${1:-bookworm}
name=hybridscope-$version-linux-x86_64
archive=$(package "$name.tar.xz")
new_root "$suite"
folder="/home/Zoë Müller/a folder"
mkdir "$root$folder"
tar -C "$root$folder" -xf "$archive"
inside chown -R person: "/home/Zoë Müller"

step "every library is found, none of it outside the bundle but glibc"
inside sh -c "cd '$folder/$name' && for file in bin/hybridscope plugins/*/*.so; do
  LD_LIBRARY_PATH=\$(printf '%s:' fallback/*) ldd \$file; done" >"$root/tmp/ldd.txt"
! grep 'not found' "$root/tmp/ldd.txt" || fail "libraries are missing"
foreign=$(awk '$3 ~ "^/(usr/)?lib" && $1 !~ /^lib(c|m|dl|pthread|rt|resolv)[.]so/' "$root/tmp/ldd.txt")
[ -z "$foreign" ] || fail "taken from the system: $foreign"
look_at_program "a folder/$name/hybridscope" "a folder/$name/hybridscope-cli"

step "on a screen"
Xvfb -displayfd 1 -screen 0 1280x860x24 -nolisten tcp -ac >"$root/tmp/display" 2>/dev/null &
screen=$!
while [ ! -s "$root/tmp/display" ]; do sleep 0.2; done
# The socket is not in the clean system: by its abstract name it is there all the same.
as_person "unset QT_QPA_PLATFORM; export DISPLAY=:\$(cat /tmp/display)
  'a folder/$name/hybridscope' -platform xcb --screenshot models x11.png" || fail "no window by X11"
kill "$screen"
[ "$(wc -c <"$root/home/Zoë Müller/x11.png")" -gt 30000 ] || fail "the picture is empty"
rm -r "$root$folder"
still_kept
step "passed on $suite"
