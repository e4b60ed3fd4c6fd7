#!/usr/bin/env bash
# The self-extracting bundle in a clean system without Qt, X11 or fonts: installed by a person and
# by root, an older version below it, removal.    usage: run.sh [SUITE]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
suite=${1:-bookworm}
run=$(package "hybridscope-$version-linux-x86_64.run")
new_root "$suite"
home="/home/Zoë Müller"
inside_run=$(bring "$run")

step "an older version, for one person"
as_person "sh $inside_run >/dev/null"
touch "$root$home/.local/opt/hybridscope/lib/from-an-older-version.so"
as_person ".local/bin/hybridscope --offscreen-demo out >/dev/null"
printf '[look]\ntheme=dark\n' >>"$root$home/.local/share/hybridscope/settings.ini"
before=$(kept .local/bin/hybridscope-cli)

step "this version over it"
as_person "sh $inside_run >/dev/null"
no_trace "$home/.local/opt/hybridscope/lib/from-an-older-version.so"
[ "$(kept .local/bin/hybridscope-cli)" = "$before" ] || fail "sessions or settings changed"
look_at_program .local/bin/hybridscope .local/bin/hybridscope-cli
grep -q "^Exec=\"$home/.local/opt/hybridscope/hybridscope\" %f" \
  "$root$home/.local/share/applications/org.hybridscope.hybridscope.desktop" || fail "desktop entry"
listed=$(cat "$root$home/.local/opt/hybridscope/installed.txt")
as_person ".local/opt/hybridscope/install.sh --remove"
while IFS= read -r file; do
  no_trace "$file"
done <<<"$listed"
no_trace "$home/.local/opt/hybridscope"
still_kept

step "for everyone"
inside sh "$inside_run" >/dev/null
look_at_program
inside /opt/hybridscope/install.sh --remove
no_trace /opt/hybridscope /usr/local/bin/hybridscope /usr/local/bin/hybridscope-cli
step "passed on $suite"
