#!/bin/sh
# Write training rows with several processes, in the background: rows.sh SOURCES OUT SHARDS_1K SHARDS_8K PROCESSES SEED
# A shard holds 16 batches of 32768 tokens.
set -e
cd "$(dirname "$0")"
i=0
while [ $i -lt "$5" ]; do
    (nice -n 5 python3 corpus.py --sources "$1" --out "$2" --length 1024 --rows 512 --shards "$i:$3:$5" --seed "$6" &&
     nice -n 5 python3 corpus.py --sources "$1" --out "$2" --length 8192 --rows 64 --shards "$i:$4:$5" --seed "$6") &
    i=$((i + 1))
done
