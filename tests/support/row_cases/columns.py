"""What columns are called, what is missing in them, and what lies beside them."""

from __future__ import annotations

from kubetune_contract import Missing, RowFormat

from .case import ASKED, CHAT, TOLD, RowCase, file, lines, pair

CASES = (
    # Columns under other names.
    RowCase(
        "columns",
        "question, answer",
        "a.csv",
        "Question,Answer,id\na,b,1\n",
        (pair("a", "b"),),
        columns={"prompt": "Question", "completion": "Answer"},
        confidence=0.9,
        unused=("id",),
    ),
    RowCase(
        "columns",
        "input, output",
        "a.jsonl",
        lines({"input": "a", "output": "b"}),
        (pair("a", "b"),),
        columns={"prompt": "input", "completion": "output"},
        confidence=0.9,
    ),
    RowCase(
        "columns",
        "user, assistant",
        "a.jsonl",
        lines({"USER": "a", "ASSISTANT": "b"}),
        (pair("a", "b"),),
        columns={"prompt": "USER", "completion": "ASSISTANT"},
        confidence=0.9,
    ),
    RowCase(
        "columns",
        "instruction, response and what is between",
        "a.jsonl",
        lines({"instruction": "a", "context": "c", "response": "b", "category": "qa"}),
        (pair("a\n\nc", "b"),),
        columns={"instruction": "instruction", "input": "context", "output": "response"},
        confidence=0.9,
        unused=("category",),
    ),
    RowCase(
        "columns",
        "customer_message, support_reply",
        "a.csv",
        "ticket_id,customer_message,support_reply\n7,a,b\n",
        (pair("a", "b"),),
        columns={"prompt": "customer_message", "completion": "support_reply"},
        confidence=0.7,
        unused=("ticket_id",),
    ),
    RowCase(
        "columns",
        "User Query, Agent Response",
        "a.csv",
        "User Query,Agent Response,Response Time\na,b,3\n",
        (pair("a", "b"),),
        columns={"prompt": "User Query", "completion": "Agent Response"},
        confidence=0.7,
        unused=("Response Time",),
    ),
    RowCase(
        "columns",
        "prompt, input, output",
        "a.jsonl",
        lines({"prompt": "a", "input": "i", "output": "b"}),
        (pair("a\n\ni", "b"),),
        columns={"instruction": "prompt", "input": "input", "output": "output"},
        confidence=0.9,
    ),
    RowCase(
        "columns",
        "instruction, input, answer",
        "a.csv",
        "instruction,input,answer\na,i,b\n",
        (pair("a\n\ni", "b"),),
        columns={"instruction": "instruction", "input": "input", "output": "answer"},
        confidence=0.8,
    ),
    RowCase(
        "columns",
        "system, user, assistant",
        "a.csv",
        "system,user,assistant\ns,a,b\n",
        (pair("s\n\na", "b"),),
        columns={"prompt": "user", "completion": "assistant", "system": "system"},
        confidence=0.9,
    ),
    RowCase(
        "columns",
        "a dialog",
        "a.jsonl",
        lines({"dialog": [ASKED, TOLD]}),
        (CHAT,),
        columns={"messages": "dialog"},
        confidence=0.9,
    ),
    RowCase(
        "columns",
        "two answers",
        "a.csv",
        "question,answer,response\na,b,c\n",
        None,
        "UnknownColumns",
        "columns: {prompt: question, completion: answer}, has a confidence of 0.45, less than 0.6; "
        "columns: {prompt: question, completion: response} fits as well",
    ),
    RowCase(
        "columns",
        "an answer that is mostly missing",
        "a.csv",
        "question,answer\na,b\nc,\nd,\n",
        None,
        "UnknownColumns",
        "has a confidence of 0.30",
    ),
    RowCase(
        "columns",
        "names that nobody knows",
        "a.csv",
        "foo,bar\na,b\n",
        None,
        "UnknownColumns",
        "has the columns 'foo', 'bar': none of them is known",
    ),
    RowCase(
        "columns",
        "a name that YAML would read otherwise",
        "a.csv",
        '"my question: one",reply,answer\na,b,c\n',
        None,
        "UnknownColumns",
        'columns: {prompt: "my question: one", completion: reply}',
    ),
    # Texts with labels.
    RowCase(
        "labels",
        "text, label",
        "a.csv",
        "text,label\nlovely,positive\nawful,negative\n",
        (pair("lovely", "positive"), pair("awful", "negative")),
        columns={"prompt": "text", "completion": "label"},
        confidence=0.7,
    ),
    RowCase(
        "labels",
        "numbers",
        "a.jsonl",
        lines({"text": "lovely", "label": 1}),
        None,
        "UnknownColumns",
        "the labels are numbers",
    ),
    RowCase(
        "labels", "numbers in CSV", "a.csv", "text,label\nlovely,1\n", None, "UnknownColumns", "the labels are numbers"
    ),
    RowCase(
        "labels",
        "numbers beside their names",
        "a.jsonl",
        lines({"text": "lovely", "label": 1, "label_text": "positive"}),
        (pair("lovely", "positive"),),
        columns={"prompt": "text", "completion": "label_text"},
        confidence=0.7,
        unused=("label",),
    ),
    RowCase(
        "labels",
        "the text alone, where that is said",
        "a.jsonl",
        lines({"text": "lovely", "label": 1}),
        ({"text": "lovely"},),
        settings={"format": RowFormat.TEXT},
        unused=("label",),
    ),
    # Missing cells.
    RowCase(
        "missing",
        "refused with their count and share",
        "a.csv",
        "prompt,completion\na,b\nc,\nd,e\n,f\n",
        said="line 3: completion is empty; missing: Drop in spec.dataset leaves out the 1 row (25.0%) with a missing",
    ),
    RowCase(
        "missing",
        "left out",
        "a.csv",
        "prompt,completion\na,b\nc,\nd,e\n",
        (pair("a", "b"), pair("d", "e")),
        settings={"missing": Missing.DROP},
        missing=1,
    ),
    RowCase(
        "missing",
        "null, absent and NaN left out",
        "a.jsonl",
        lines(
            pair("a", "b"),
            {"prompt": "c", "completion": None},
            {"prompt": "c"},
            {"prompt": "c", "completion": float("nan")},
        ),
        (pair("a", "b"),),
        settings={"missing": Missing.DROP},
        missing=3,
    ),
    RowCase(
        "missing",
        "under another name",
        "a.csv",
        "Question,Answer\na,b\nc,\nd,e\n",
        said="line 3: completion (column 'Answer') is empty",
    ),
    RowCase(
        "missing",
        "in a chat left out",
        "a.jsonl",
        lines(CHAT, {"messages": []}, {"messages": None}),
        (CHAT,),
        settings={"missing": Missing.DROP},
        missing=2,
    ),
    RowCase(
        "missing",
        "in every row",
        "a.csv",
        "prompt,completion\na,\nb,\n",
        None,
        "EmptyDataset",
        "has no rows in which no cell is missing (2 are left out)",
        settings={"missing": Missing.DROP},
    ),
    RowCase(
        "missing",
        "null in every row",
        "a.jsonl",
        lines({"prompt": "a", "completion": None}, {"prompt": "b", "completion": None}),
        said="lines 1, 2: has no completion, which promptCompletion rows need; missing: Drop",
    ),
    RowCase(
        "missing",
        "another fault is no missing cell",
        "a.jsonl",
        lines(pair("a", "b"), {"prompt": "a", "completion": 3}),
        said="line 2: completion is a number, not text",
        settings={"missing": Missing.DROP},
    ),
    RowCase(
        "missing",
        "a question",
        "a.csv",
        "prompt,completion\n,b\nc,d\n",
        (pair("", "b"), pair("c", "d")),
        told=("the prompt is empty",),
    ),
    # Members beside what is used.
    RowCase(
        "beside",
        "of rows, messages and calls",
        "a.jsonl",
        lines(
            {
                "messages": [
                    {**ASKED, "name": "Ada"},
                    {
                        "role": "assistant",
                        "tool_calls": [{"index": 0, "function": {"name": "now", "arguments": {}, "strict": True}}],
                        "refusal": "no",
                    },
                ],
                "topic": "x",
            }
        ),
        (
            {
                "messages": [
                    ASKED,
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": {}}}],
                    },
                ]
            },
        ),
        unused=(
            "messages[].name",
            "messages[].refusal",
            "messages[].tool_calls[].function.strict",
            "messages[].tool_calls[].index",
            "topic",
        ),
    ),
    RowCase(
        "beside",
        "arguments under another name",
        "a.jsonl",
        lines(
            {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "now", "parameters": {"zone": "CET"}}]}]}
        ),
        (
            {
                "messages": [
                    ASKED,
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": {"zone": "CET"}}}],
                    },
                ]
            },
        ),
    ),
    RowCase(
        "beside",
        "what other shapes would use",
        "a.jsonl",
        lines({**CHAT, "prompt": "p", "completion": "c"}),
        (CHAT,),
        unused=("completion", "prompt"),
    ),
    # Ordinary files.
    RowCase(
        "ordinary",
        "pairs",
        "train16.jsonl",
        file("train16.jsonl"),
        tuple(pair(f"say {n % 8} =", f" hello {n % 8}") for n in range(16)),
    ),
    RowCase(
        "ordinary",
        "chats",
        "chat16.jsonl",
        file("chat16.jsonl"),
        tuple(
            {
                "messages": [
                    {"role": "user", "content": f"say {n % 8} ="},
                    {"role": "assistant", "content": f"hello {n % 8}"},
                ]
            }
            for n in range(16)
        ),
    ),
)
