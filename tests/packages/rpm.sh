#!/usr/bin/env bash
# The .rpm, which brings all it needs, in a clean system by rpm itself: an older version, this one
# over it, removal.    usage: rpm.sh [SUITE]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
suite=${1:-bookworm}
build=${HS_BUILD:-$tree/build}
rpm=$(package "hybridscope-$version-1.x86_64.rpm")
new_root "$suite"
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends rpm >/dev/null 2>&1
rpm -qp --requires "$rpm" | grep -vE '^rpmlib\(' >"$root/tmp/requires"
[ "$(cat "$root/tmp/requires")" = 'libc.so.6(GLIBC_2.36)(64bit)' ] ||
  fail "it asks for more than glibc: $(cat "$root/tmp/requires")"

step "an older version"
sed "s/^Version: .*/Version: 0.0.9/; s/- $version-1/- 0.0.9-1/; s/w12.zstdio/w1.zstdio/" \
  "$build/packaging/hybridscope.spec" >"$root/tmp/old.spec"
rpmbuild -bb --quiet --target x86_64 --define "_topdir $root/tmp/old" \
  --define "hs_root $build/packaging/stage/rpm-root" "$root/tmp/old.spec" >/dev/null 2>&1
# glibc is there, but not in this system's list of .rpm files.
inside rpm --nodeps -i /tmp/old/RPMS/x86_64/hybridscope-0.0.9-1.x86_64.rpm
as_person "hybridscope --offscreen-demo out >/dev/null"
printf '[look]\ntheme=dark\n' >>"$root/home/Zoë Müller/.local/share/hybridscope/settings.ini"
before=$(kept)

step "this version over it"
inside rpm --nodeps -U "$(bring "$rpm")"
[ "$(inside rpm -q hybridscope)" = "hybridscope-$version-1.x86_64" ] || fail "not upgraded"
[ "$(kept)" = "$before" ] || fail "sessions or settings changed"
inside rpm --nodeps -V hybridscope
look_at_program

step "removal"
files=$(inside rpm -ql hybridscope)
inside rpm -e hybridscope
for file in $files; do
  case $file in
  *ybridscope*) no_trace "$file" ;;
  esac
done
still_kept
step "passed on $suite"
