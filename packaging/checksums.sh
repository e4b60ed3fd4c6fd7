#!/bin/sh
# Writes SHA256SUMS of a folder of packages.   usage: checksums.sh FOLDER
set -eu
cd "$1"
rm -f SHA256SUMS
sums=$(LC_ALL=C sha256sum -- *)
printf '%s\n' "$sums" >SHA256SUMS
