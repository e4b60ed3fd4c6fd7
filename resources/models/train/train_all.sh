#!/bin/sh
# Train the whole family again: data, eight models at once, GGUF files, measurements.
#   ./train_all.sh          one H100: some 40 minutes, most of them training
# Needs the packages of requirements.txt, a CUDA GPU, and the Debian packages named in README.md.
set -e
cd "$(dirname "$0")"
STEPS=${STEPS:-15000}
WORK=${WORK:-work}
NOVELS=${NOVELS:-/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb}

python3 check_model.py
python3 make_data.py --out "$WORK/data" --novels "$NOVELS" --tokenizer ../tokenizer.json

# As many shards as are read at most: all rows plain, or twelve of every 32 short ones drills.
long=$(python3 -c "print(sum(2 * s >= $STEPS and s % 4 == 3 for s in range($STEPS)))")
short=$((STEPS - long))
./rows.sh "$WORK/data" "$WORK/rows" $((short / 16 + 1)) $((long / 16 + 1)) $((short * 12 / 512 + 1)) "$(nproc)" 1
python3 train.py --rows "$WORK/rows" --sources "$WORK/data" --out "$WORK/checkpoints" --steps "$STEPS" --long-from 0.5 --decay 0.35

python3 export_gguf.py --checkpoints "$WORK/checkpoints" --tokenizer ../tokenizer.json --out .. --tokens $((STEPS * 32768))
python3 evaluate.py --checkpoints "$WORK/checkpoints" --sources "$WORK/data" --documents 16 --rows 16 --out "$WORK/evaluate.json"
python3 check_gguf.py --models .. --checkpoints "$WORK/checkpoints" --sources "$WORK/data" --rows 4 \
    --evaluation "$WORK/evaluate.json" --out ../ratio-family.json
