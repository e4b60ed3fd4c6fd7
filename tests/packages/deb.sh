#!/usr/bin/env bash
# The Debian package in a clean system: an older version, what a person keeps with it, the newer one
# over it, removal.    usage: deb.sh [SUITE]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
suite=${1:-bookworm}
build=${HS_BUILD:-$tree/build}

deb=$(package "hybridscope_${version}_amd64.deb")
new_root "$suite"
step "an older version"
(cd "$build" && cpack -G DEB -D CPACK_PACKAGE_VERSION=0.0.9 \
  -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip -B "$root/tmp/old") >/dev/null
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends /tmp/old/hybridscope_0.0.9_amd64.deb \
  >"$root/tmp/old.log" 2>&1 || fail "installing: $(tail -n 5 "$root/tmp/old.log")"
as_person "hybridscope --offscreen-demo out >/dev/null"
printf '[look]\ntheme=dark\n' >>"$root/home/Zoë Müller/.local/share/hybridscope/settings.ini"
before=$(kept)

step "this version over it"
inside apt-get install -y -qq --no-install-recommends "$(bring "$deb")" >"$root/tmp/new.log" 2>&1 ||
  fail "upgrading: $(tail -n 5 "$root/tmp/new.log")"
[ "$(inside dpkg-query -W -f '${Version}' hybridscope)" = "$version" ] || fail "not upgraded"
[ "$(kept)" = "$before" ] || fail "sessions or settings changed: $before, then $(kept)"
inside dpkg --verify hybridscope
look_at_program

step "removal"
files=$(inside dpkg -L hybridscope)
inside apt-get purge -y -qq hybridscope >/dev/null
for file in $files; do
  case $file in
  *ybridscope*) no_trace "$file" ;;
  esac
done
still_kept
step "passed on $suite"
