#!/bin/sh
# Write training rows with several processes, in the background:
#   rows.sh SOURCES OUT SHARDS_1K SHARDS_8K SHARDS_OF_DRILLS PROCESSES SEED [FIRST_1K FIRST_8K FIRST_OF_DRILLS]
# A shard holds 512 rows of 1024 tokens or 64 of 8192. The seed and the shard's number decide what is in it, so that a model
# trained later on the same seed meets the same rows in the same order. The first shards are 0 unless a run that was cut off
# goes on.
set -e
cd "$(dirname "$0")"
write() { nice -n 5 python3 corpus.py --sources "$sources" --out "$out" --seed "$seed" "$@"; }
sources=$1 out=$2 seed=$7 i=0
first_1k=${8:-0} first_8k=${9:-0} first_drills=${10:-0}
while [ $i -lt "$6" ]; do
    # One process in four begins with drills; the shards of each kind are shared out among those that write it.
    if [ $((i % 4)) -eq 0 ]; then
        write --drills --length 1024 --rows 512 --shards "$((first_drills + i / 4)):$5:$((($6 + 3) / 4))" &
    fi
    (write --length 1024 --rows 512 --shards "$((first_1k + i)):$3:$6" && write --length 8192 --rows 64 --shards "$((first_8k + i)):$4:$6") &
    i=$((i + 1))
done
