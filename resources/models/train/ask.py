"""Put the questions of questions.tsv to models through the program's command line, greedily, and count the answers that the
expression beside the question finds: ask.py CLI MODELS_FOLDER [RATIO ...]. Read the answers too: an expression forgives much."""

import os
import re
import subprocess
import sys
from pathlib import Path

import model as m


def main():
    cli, folder, ratios = sys.argv[1], Path(sys.argv[2]), sys.argv[3:] or list(m.INTERVAL)
    lines = (Path(__file__).parent / "questions.tsv").read_text().splitlines()
    for ratio in ratios:
        right = 0
        for question, expected in (line.split("\t") for line in lines):
            answer = subprocess.run([cli, "generate", str(folder / f"hybridscope-ratio-{ratio}.gguf"), "-p", question, "--temp", "0", "-n", "80",
                                     "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True, env=os.environ).stdout
            good = bool(re.search(expected, answer.strip(), re.I))
            right += good
            print(f"{ratio} {'+' if good else '-'} {question} -> {answer.strip()}", flush=True)
        print(f"{ratio}: {right} of {len(lines)}", flush=True)


if __name__ == "__main__":
    main()
