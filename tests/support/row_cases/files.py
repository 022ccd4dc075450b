"""How rows lie in files."""

from __future__ import annotations

import json

from .case import ASKED, CHAT, FUSE, LONG, TOLD, RowCase, called, file, lines, pair

CASES = (
    # Arrays, joined files, objects over several lines.
    RowCase(
        "containers",
        "an array in a .jsonl, of a public report",
        "array-in-jsonl.jsonl",
        file("array-in-jsonl.jsonl"),
        FUSE,
    ),
    RowCase(
        "containers",
        "an array printed prettily, of a public report",
        "array-pretty.jsonl",
        file("array-pretty.jsonl"),
        FUSE,
    ),
    RowCase(
        "containers",
        "two files with byte order marks, of a public report",
        "bom-mid.jsonl",
        file("bom-mid.jsonl"),
        FUSE,
    ),
    RowCase(
        "containers",
        "objects printed prettily",
        "a.jsonl",
        "".join(json.dumps(row, indent=2) + "\n" for row in FUSE),
        FUSE,
    ),
    RowCase(
        "containers", "an array in a .ndjson after a byte order mark", "a.ndjson", "\ufeff" + json.dumps(FUSE), FUSE
    ),
    RowCase(
        "containers",
        "two arrays joined",
        "a.json",
        json.dumps(FUSE) + json.dumps(FUSE),
        said="Another list follows: were two files joined?",
    ),
    RowCase(
        "containers",
        "two tables joined",
        "a.csv",
        "\ufeffprompt,completion\na,b\n\ufeffprompt,completion\nc,d\n",
        said="line 3: is the header once more; were two files joined?",
    ),
    RowCase(
        "containers",
        "one object around the rows",
        "a.json",
        json.dumps({"version": 1, "data": FUSE}),
        None,
        "UnknownColumns",
        "is one object around a list, 'data'",
    ),
    RowCase(
        "containers",
        "a member twice",
        "a.jsonl",
        '{"prompt": "a", "completion": "b"}\n{"prompt": "a", "prompt": "c", "completion": "b"}\n',
        said="line 2: has 'prompt' more than once, with different values",
    ),
    # Integers of any length.
    RowCase(
        "integers",
        "unused, of a public report",
        "bigint.jsonl",
        file("bigint.jsonl"),
        ({"text": "a"},),
        unused=("id",),
    ),
    RowCase(
        "integers",
        "unused in an array, of a public report",
        "bigint.json",
        file("bigint.json"),
        ({"text": "a"},),
        unused=("id",),
    ),
    RowCase(
        "integers",
        "as an answer",
        "a.jsonl",
        f'{{"prompt": "a", "completion": {LONG}}}\n',
        said="line 1: completion is a number, not text",
    ),
    RowCase(
        "integers",
        "in a call",
        "a.jsonl",
        lines(called({"n": 0})).replace("0}", f"{LONG}}}"),
        said="holds a number of too many digits",
    ),
    RowCase(
        "integers",
        "negative, in a message",
        "a.jsonl",
        lines({"messages": [ASKED, {**TOLD, "at": 0}]}).replace(" 0}", f" -{LONG}}}"),
        (CHAT,),
        unused=("messages[].at",),
    ),
    # Headers.
    RowCase(
        "headers",
        "in capitals",
        "a.csv",
        "Prompt,COMPLETION\na,b\n",
        (pair("a", "b"),),
        columns={"prompt": "Prompt", "completion": "COMPLETION"},
        confidence=1.0,
    ),
    RowCase(
        "headers",
        "with spaces",
        "a.csv",
        ' prompt , completion \n"a, b", "c, d"\n',
        (pair("a, b", "c, d"),),
        columns={"prompt": " prompt ", "completion": " completion "},
        confidence=1.0,
    ),
    RowCase(
        "headers",
        "with spaces in TSV",
        "a.tsv",
        "Prompt \tCompletion \na\tb\n",
        (pair("a", "b"),),
        columns={"prompt": "Prompt ", "completion": "Completion "},
        confidence=1.0,
    ),
    RowCase(
        "headers",
        "with spaces, named without",
        "a.csv",
        "question ,answer\na,b\n",
        said="has no column 'question' (columns.prompt); it has 'question ', 'answer'",
        settings={"columns": {"prompt": "question", "completion": "answer"}},
    ),
    RowCase(
        "headers",
        "Messages",
        "a.jsonl",
        lines({"Messages": [ASKED, TOLD]}),
        (CHAT,),
        columns={"messages": "Messages"},
        confidence=1.0,
    ),
)
