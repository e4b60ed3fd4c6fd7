#!/usr/bin/env python3
"""Reads the #include lines against the table of arrows and names each that points the wrong way."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# folder: what it may include of ours. A path with an extension allows that header alone.
ENGINE = ["engine/core", "engine/backend", "engine/spec", "engine/files", "engine/text",
          "engine/state", "engine/mixers", "engine/run", "engine/store", "engine/remote"]
MAY = {
    "kernels/cpu": ["kernels/format.h"],
    "kernels/cuda": ["kernels/format.h"],
    "kernels/format.h": [],
    "engine/core": [],
    "engine/spec": ["engine/core", "engine/files"],
    "engine/files": ["engine/core"],
    "engine/text": ["engine/core", "engine/files"],
    # Ops take the mixers' own dimensions, which are plain values.
    "engine/backend": ["engine/core", "engine/spec/model_spec.h", "kernels/cpu/kernels.h",
                       "kernels/cuda/abi.h", "kernels/cuda/abi_mixers.h"],
    "engine/state": ["engine/core", "engine/backend", "engine/spec"],
    "engine/mixers": ["engine/core", "engine/backend", "engine/spec", "engine/state"],
    "engine/run": ["engine/core", "engine/backend", "engine/spec", "engine/files", "engine/text",
                   "engine/state", "engine/mixers"],
    "engine/store": ["engine/core", "engine/run/events.h"],
    "engine/remote": ["engine/core", "engine/run/events.h"],
    "engine/lab": ENGINE,
    "app/bridge": ["engine/lab", "engine/run", "engine/store", "engine/spec", "engine/core",
                   "engine/backend/devices.h", "engine/files/checkpoint.h"],
    "ui": ["app/bridge", "engine/core", "engine/spec/model_spec.h", "engine/spec/ratio.h",
           "engine/run/events.h", "engine/lab/experiment.h", "engine/lab/runner.h",
           "engine/lab/planner.h", "engine/lab/report.h", "engine/store", "engine/state/ledger.h"],
    "app": ["app", "ui", "engine"],
}
NO_QT = ("engine/", "kernels/", "app/cli_main.cpp")
# Areas of the window do not know each other; these stand under all of them.
UI_SHARED = ("ui/shared/", "ui/plots/", "ui/reports/")


def folder_of(path):
    if path.startswith("ui/"):
        return "ui"
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] in ("kernels", "engine") or \
        path.startswith("app/bridge/") else parts[0]


def allowed(source, target):
    folder = folder_of(source)
    if folder == "ui":
        area = "/".join(source.split("/")[:2])
        if target.startswith(area + "/") or target.startswith(UI_SHARED):
            return True
    elif target.startswith(folder + "/"):
        return True
    return any(target == may or target.startswith(may + "/") for may in MAY[folder])


def main():
    wrong = []
    count = 0
    for top in ("kernels", "engine", "app", "ui"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
                continue
            source = path.relative_to(ROOT).as_posix()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                ours = re.match(r'\s*#include "((?:app|engine|kernels|ui)/[^"]+)"', line)
                if ours:
                    count += 1
                    if not allowed(source, ours.group(1)):
                        wrong.append(f"{source}:{number}: may not include {ours.group(1)}")
                if source.startswith(NO_QT) and re.match(r"\s*#include <Q[A-Z]", line):
                    wrong.append(f"{source}:{number}: Qt stops at app/bridge")
    for line in wrong:
        print(line)
    print(f"{count} includes read, {len(wrong)} wrong")
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
