#!/usr/bin/env python3
"""Renders chat templates with Jinja2, as the reference for engine/text/chat_template.

usage: make_template_goldens.py FOLDER [CONVERSATIONS]

Every *.jinja in FOLDER is rendered with every conversation of CONVERSATIONS (by default
tests/data/chat_templates/conversations.json); FOLDER/goldens.json gets the outcome of each:
{"text": ...}, {"raises": what raise_exception said} or {"fails": kind of the Python error}; an
outcome that a template had before is {"same": the conversation}.

The environment is the one that transformers renders chat templates in, with two differences: lists
and mappings may be changed (two published templates do it, which transformers' own sandbox refuses),
and there is a filter from_json, which a few published templates for other programs use.

Pinned: jinja2 3.1.6, markupsafe 3.0, Python 3.11. The clock stands at 2026-11-24 09:05:07.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

PINNED = "3.1.6"
CLOCK = datetime(2026, 11, 24, 9, 5, 7)


class Raised(jinja2.exceptions.TemplateError):
    pass


class Generation(jinja2.ext.Extension):
    """{% generation %} only marks text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_same")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise Raised(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = CLOCK.strftime
    return env


def outcome(template, variables):
    try:
        return {"text": template.render(**variables)}
    except Raised as error:
        return {"raises": str(error)}
    except Exception as error:  # whatever Python says of a wrong template
        return {"fails": type(error).__name__ + ": " + str(error)[:120]}


def main():
    if jinja2.__version__ != PINNED:
        sys.exit(f"jinja2 {PINNED} is needed, this is {jinja2.__version__}")
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    here = Path(__file__).resolve().parent.parent / "data" / "chat_templates"
    conversations_file = Path(sys.argv[2]) if len(sys.argv) == 3 else here / "conversations.json"
    conversations = json.loads(conversations_file.read_text("utf-8"))
    env = environment()
    goldens = {}
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_bytes().decode("utf-8")  # newlines as they are
        try:
            template = env.from_string(source)
        except jinja2.exceptions.TemplateError as error:
            goldens[path.name] = {"*": {"fails": type(error).__name__ + ": " + str(error)[:120]}}
            continue
        seen = {}
        goldens[path.name] = {}
        for name, variables in conversations.items():
            # Read again each time: a template may change what it is given.
            result = outcome(template, json.loads(json.dumps(variables)))
            key = json.dumps(result)
            goldens[path.name][name] = {"same": seen[key]} if key in seen else result
            seen.setdefault(key, name)
    (folder / "goldens.json").write_text(
        json.dumps(goldens, ensure_ascii=False, indent=1) + "\n", "utf-8"
    )
    outcomes = [o for template in goldens.values() for o in template.values()]
    counts = {kind: sum(kind in o for o in outcomes) for kind in ("text", "raises", "fails", "same")}
    print(f"{len(goldens)} templates, {len(conversations)} conversations: {counts}")


if __name__ == "__main__":
    main()
