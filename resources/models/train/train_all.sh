#!/bin/sh
# Train the whole family again: data, five models at once, GGUF files, measurements.
#   STEPS=4600 ./train_all.sh          one H100: about eight minutes, most of them training
# Needs the packages of requirements.txt, a CUDA GPU, and the Debian packages named in README.md.
set -e
cd "$(dirname "$0")"
STEPS=${STEPS:-4600}
LONG_FROM=${LONG_FROM:-0.5}
WORK=${WORK:-work}
NOVELS=${NOVELS:-/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb}

python3 check_model.py
python3 make_data.py --out "$WORK/data" --novels "$NOVELS" --tokenizer ../tokenizer.json

long=$(python3 -c "print(sum(s >= $LONG_FROM * $STEPS and s % 3 == 2 for s in range($STEPS)))")
./rows.sh "$WORK/data" "$WORK/rows" $(((STEPS - long) / 16 + 1)) $((long / 16 + 1)) "$(nproc)" 1
python3 train.py --rows "$WORK/rows" --out "$WORK/checkpoints" --steps "$STEPS" --long-from "$LONG_FROM" --decay 0.25

python3 export_gguf.py --checkpoints "$WORK/checkpoints" --tokenizer ../tokenizer.json --out .. --tokens $((STEPS * 32768))
python3 evaluate.py --checkpoints "$WORK/checkpoints" --sources "$WORK/data" --out "$WORK/evaluate.json"
python3 check_gguf.py --models .. --checkpoints "$WORK/checkpoints" --sources "$WORK/data" \
    --evaluation "$WORK/evaluate.json" --out ../ratio-family.json
