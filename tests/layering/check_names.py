#!/usr/bin/env python3
"""Holds the rule that a type's name stands for one type in the whole program.

Two types of one name in one namespace compile and link, and then share whichever destructor or
vector the linker keeps: nothing warns, and the program is wrong. This looks at types defined at
the left margin outside unnamed namespaces, which is where clang-format puts them.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPENS = re.compile(r"^(?:inline )?namespace ?([\w:]*) ?\{")
CLOSES = re.compile(r"^\} // namespace")
TYPE = re.compile(r"^(?:class|struct|union|enum class|enum) (\w+)(?: final)?(?: :[^:;]*)? ?\{")


def types(text):
    """Yields (line number, qualified name) of each type that other files could clash with."""
    spaces = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := OPENS.match(line):
            if "}" not in line[match.end():]:
                spaces.append(match.group(1))
        elif CLOSES.match(line) and spaces:
            spaces.pop()
        elif (match := TYPE.match(line)) and "" not in spaces:
            yield number, "::".join(spaces + [match.group(1)])


def main():
    seen = {}
    wrong = 0
    for folder in ("app", "engine", "kernels", "ui"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".h", ".cpp"):
                continue
            for number, name in types(path.read_text(encoding="utf-8")):
                place = f"{path.relative_to(ROOT)}:{number}"
                if name in seen:
                    print(f"{place}: {name} is also the name of another type, at {seen[name]}")
                    wrong += 1
                seen[name] = place
    if wrong:
        return 1
    print(f"{len(seen)} types, each with a name of its own")
    return 0


if __name__ == "__main__":
    sys.exit(main())
