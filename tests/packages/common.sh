# What the tests of packages share. Sourced, not run. A test installs into a clean system made by
# debootstrap, looks at the program from inside, removes it, and looks at what is left.
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$tests/../.." && pwd)
packages=${HS_PACKAGES:-$tree/out/packages}
roots=${HS_ROOTS:-$tree/.cache/roots}
version=$(sed -n 's/^project(hybridscope VERSION \([0-9.]*\).*/\1/p' "$tree/CMakeLists.txt")

[ "$(id -u)" = 0 ] || { echo "skipped: entering another system's root needs root"; exit 77; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}
step() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

package() { # name: its path, if it was built
  [ -e "$packages/$1" ] || fail "$packages/$1 is missing: ./dev package makes it"
  printf '%s\n' "$packages/$1"
}

# A clean system, unpacked for each test and gone when it ends. Those of Debian are made once; another
# one is used where its tree lies in $roots as SUITE.tar.
new_root() { # suite
  local suite=$1
  root=$roots/$suite-$$
  mkdir -p "$roots"
  trap 'rm -rf --one-file-system "$root"' EXIT
  if [ ! -f "$roots/$suite.tar" ]; then
    step "making a clean $suite"
    debootstrap --variant=minbase "$suite" "$root" >"$roots/$suite.log" ||
      fail "debootstrap: see $roots/$suite.log"
    rm -f "$root"/var/cache/apt/archives/*.deb
    tar -C "$root" -cf "$roots/$suite.tar.new" .
    mv "$roots/$suite.tar.new" "$roots/$suite.tar"
  else
    mkdir "$root"
    tar -C "$root" -xf "$roots/$suite.tar"
  fi
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  inside useradd --create-home --home-dir "/home/Zoë Müller" person
}

# With a /proc of its own that vanishes with the command: without it libraries do not find each other.
inside() {
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive unshare --mount --pid --fork --mount-proc="$root/proc" \
    chroot "$root" "$@"
}

as_person() { # a shell command
  inside su person -c "export QT_QPA_PLATFORM=offscreen; cd; $1"
}

bring() { # file: its path inside
  cp "$1" "$root/tmp/"
  printf '/tmp/%s\n' "$(basename "$1")"
}

# The program as a person meets it. Programs are called by what is given, or by name.
look_at_program() { # command, command of the CLI
  local window=${1:-hybridscope} cli=${2:-hybridscope-cli} answer
  step "versions, self-test"
  [ "$(as_person "'$window' --version")" = "hybridscope $version" ] || fail "$window --version"
  [ "$(as_person "'$cli' --version")" = "hybridscope-cli $version" ] || fail "$cli --version"
  as_person "'$cli' selftest --threads 2 > selftest.txt" ||
    fail "selftest: $(tail -n 5 "$root/home/Zoë Müller/selftest.txt")"
  step "a chat with a bundled model"
  answer=$(as_person "'$cli' generate hybridscope-ratio-1-3 --temp 0 -n 40 -p 'What is a cello?' 2>errors.txt") ||
    fail "generate: $(cat "$root/home/Zoë Müller/errors.txt")"
  case $answer in
  *instrument*) ;;
  *) fail "generate answered: $answer" ;;
  esac
  step "the window, off screen: compare, report, picture"
  as_person "'$window' --offscreen-demo out >demo.txt 2>&1" ||
    fail "demonstration: $(tail -n 5 "$root/home/Zoë Müller/demo.txt")"
  grep -q '</html>' "$root/home/Zoë Müller/out/report.html" || fail "the report has no end"
  [ "$(wc -l <"$root/home/Zoë Müller/out/samples.csv")" -gt 100 ] || fail "few samples"
  # A window whose letters are all boxes, or empty, is a far smaller picture.
  [ "$(wc -c <"$root/home/Zoë Müller/out/compare.png")" -gt 60000 ] || fail "the picture is empty"
  if [ -n "${HS_KEEP:-}" ]; then
    cp "$root/home/Zoë Müller/out/compare.png" "$HS_KEEP/$(basename "$0" .sh)-compare.png"
  fi
  as_person "'$window' --screenshot chat chat.png" || fail "the window's chat"
}

# What the person has kept so far, as text.
kept() { # command of the CLI
  as_person "'${1:-hybridscope-cli}' sessions list"
  cat "$root/home/Zoë Müller/.local/share/hybridscope/settings.ini"
}

no_trace() { # paths inside that must be gone
  local path
  for path in "$@"; do
    [ ! -e "$root$path" ] && [ ! -L "$root$path" ] || fail "$path was left behind"
  done
}

still_kept() {
  [ -s "$root/home/Zoë Müller/.local/share/hybridscope/sessions.db" ] ||
    fail "sessions went with the program"
}
