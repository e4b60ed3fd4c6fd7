#!/bin/sh
# Fills a manual page's lines @HELP program@ and @COMMANDS program@ with what the programs say of
# themselves by --help, so that an option is described in one place.
#   usage: manual.sh TEMPLATE FOLDER_OF_PROGRAMS > page.1
set -eu
template=$1
programs=$2

# Lists of options and commands become tagged paragraphs, the rest stays as it stands. `listed` says
# whether the text begins within such a list.
roff() {
  awk -v listed="$1" '
    function plain(text) {
      gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); gsub(/\047/, "\\(aq", text)
      return text ~ /^[.]/ ? "\\&" text : text
    }
    function close_example() { if (example) print ".EE"; example = 0 }
    /^$/ { blank = 1; next }
    /^Usage: / || /^ +-h,--help / || /COMMAND --help/ { next }
    /^(Positionals|Options|Subcommands):$/ { close_example(); listed = 1; next }
    /^[^ ]/ { listed = 0 }
    listed && /^  [^ ]/ {
      term = substr($0, 3); text = ""
      if (match(term, /   */)) {
        text = substr(term, RSTART + RLENGTH); term = substr(term, 1, RSTART - 1)
      }
      print ".TP\n\\fB" plain(term) "\\fR"
      if (text != "") print plain(text)
      next
    }
    listed { sub(/^ +/, ""); print plain($0); next }
    {
      if (!example) print ".PP\n.EX"
      else if (blank) print ""
      example = 1; blank = 0; print plain($0)
    }
    END { close_example() }'
}

commands() { # program, command it has: names of the commands below
  "$programs/$1" ${2:+"$2"} --help | awk '/^Subcommands:/ { on = 1; next }
    /^[^ ]/ { on = 0 } on && /^  [a-z]/ { print $1 }'
}

describe() { # program, command, command below it
  program=$1
  shift
  printf '.SS %s\n' "$*"
  "$programs/$program" "$@" --help | sed -e 's/-/\\-/g' -e 1q
  "$programs/$program" "$@" --help | sed 1d | roff 0
}

while IFS= read -r line; do
  case $line in
  "@HELP "*)
    name=${line#@HELP }
    "$programs/${name%@}" --help | sed 1d | roff 1
    ;;
  "@COMMANDS "*)
    name=${line#@COMMANDS }
    name=${name%@}
    for command in $(commands "$name"); do
      describe "$name" "$command"
      for below in $(commands "$name" "$command"); do
        describe "$name" "$command" "$below"
      done
    done
    ;;
  *) printf '%s\n' "$line" ;;
  esac
done <"$template"
