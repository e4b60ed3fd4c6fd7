#!/bin/sh
# Runs every fuzz target in BUILD_DIR/fuzz for SECONDS on its stored corpus, as many at a time as
# there are processors (or FUZZ_JOBS). What new inputs it finds goes to a scratch folder; a crash, a
# leak, a time-out or an allocation over 64 MiB ends in failure with the input kept beside the log.
# A target with other needs has its libFuzzer flags, one per line, in tests/fuzz/<target>.flags.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: run_fuzz.sh SECONDS BUILD_DIR" >&2
    exit 2
fi
seconds=$1
build=$2
here=$(cd "$(dirname "$0")" && pwd)
out="$build/fuzz/out"
rm -rf "$out"
mkdir -p "$out"

targets=$(find "$build/fuzz" -maxdepth 1 -name '*_fuzz' -type f -perm -u+x | sort)
if [ -z "$targets" ]; then
    echo "run_fuzz.sh: no fuzz target in $build/fuzz; build with -DHS_FUZZ=ON and clang" >&2
    exit 1
fi

# One target; its exit status says how it went.
cat >"$out/one" <<'ONE'
#!/bin/sh
target=$1 seconds=$2 here=$3 out=$4
name=$(basename "$target")
corpus="$here/corpus/$name"
mkdir -p "$out/$name.found"
if [ -z "$(ls -A "$corpus" 2>/dev/null)" ]; then
    echo "$name: FAILED: no stored corpus in $corpus"
    exit 1
fi
flags=
if [ -f "$here/$name.flags" ]; then
    flags=$(cat "$here/$name.flags")
fi
if "$target" -max_total_time="$seconds" -timeout=10 -max_len=65536 -rss_limit_mb=2048 \
    -malloc_limit_mb=64 -print_final_stats=1 -artifact_prefix="$out/$name." $flags \
    "$out/$name.found" "$corpus" >"$out/$name.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log")
    echo "$name: clean, $runs inputs in $seconds s"
else
    tail -n 60 "$out/$name.log"
    echo "$name: FAILED, the whole log is $out/$name.log"
    exit 1
fi
ONE
chmod +x "$out/one"

if ! printf '%s\n' "$targets" |
    xargs -P "${FUZZ_JOBS:-$(nproc)}" -I '{}' "$out/one" '{}' "$seconds" "$here" "$out"; then
    echo "run_fuzz.sh: FAILED" >&2
    exit 1
fi
