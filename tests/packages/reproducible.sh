#!/usr/bin/env bash
# The same sources, built in another folder at another time, give the same packages to the last bit.
#   usage: reproducible.sh      (compares with out/packages, made from the same commit)
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
packages=${HS_PACKAGES:-$tree/out/packages}
again=${HS_AGAIN:-$(mktemp -d)}/a-second-tree
mkdir -p "$again"
git -C "$tree" archive HEAD | tar -C "$again" -xf -
"$again/dev" package linux
different=0
for package in "$again"/out/packages/*; do
  name=$(basename "$package")
  [ "$name" = SHA256SUMS ] && continue
  if cmp -s "$package" "$packages/$name"; then
    echo "same       $name"
  else
    echo "different  $name"
    different=1
  fi
done
[ "$different" = 0 ] || { echo "FAILED: compare with the tree in $again" >&2; exit 1; }
rm -rf "$again"
