# Completion of hybridscope-cli for bash. What there is to complete, the program says itself.
_hybridscope_cli() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]-} help
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    help=$("$program" --help 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "--help --version $(
      awk '/^Subcommands:/ { on = 1; next } on && /^  [a-z]/ { print $1 }' <<<"$help"
    )" -- "$word")
    return
  fi
  help=$("$program" "$command" --help 2>/dev/null)
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(
      awk '/^  -/ { print $1 }' <<<"$help" | grep -o -e '--[a-z][a-z0-9-]*'
    )" -- "$word")
    return
  fi
  # The choices of an option are in its line: TEXT:{auto,cpu,cuda}.
  if [[ $before == -* ]]; then
    local choices
    choices=$(awk -v option="$before" '{ names = "," $1 "," }
      /^  -/ && index(names, "," option ",") { print }' <<<"$help" |
      grep -o '{[^}]*}' | tr '{},' '   ')
    if [ -n "$choices" ]; then
      mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
      return
    fi
  fi
  mapfile -t COMPREPLY < <(
    compgen -f -- "$word"
    # Names of bundled models and published architectures, until the word is a path.
    [[ $word == */* ]] ||
      compgen -W "$("$program" models 2>/dev/null | awk 'NF { print $1 }')" -- "$word"
  )
  [ ${#COMPREPLY[@]} -eq 0 ] || compopt -o filenames 2>/dev/null
}
complete -F _hybridscope_cli hybridscope-cli
