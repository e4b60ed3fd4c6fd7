"""Packs reference checkpoints, each folder of FOLDER as one archive of tests/data/checkpoints.

    python pack_checkpoints.py FOLDER [NAME ...]

The same files give the same archive. The build unpacks them into build/tests/checkpoints.
"""

import lzma
import pathlib
import sys
import tarfile

# Two bytes to a weight.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 1, "pb": 1}]


def plain(entry):
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def main(folder, names):
    folder = pathlib.Path(folder)
    out = pathlib.Path(__file__).resolve().parent.parent / "data" / "checkpoints"
    for checkpoint in sorted(folder.iterdir()):
        if not checkpoint.is_dir() or names and checkpoint.name not in names:
            continue
        archive = out / (checkpoint.name + ".tar.xz")
        with lzma.open(archive, "wb", filters=FILTERS) as stream, \
                tarfile.open(fileobj=stream, mode="w") as tar:
            for path in [checkpoint, *sorted(checkpoint.rglob("*"))]:
                tar.add(path, path.relative_to(folder), recursive=False, filter=plain)
        print(archive.name, archive.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
