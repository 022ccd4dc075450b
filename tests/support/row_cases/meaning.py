"""What rows say beside questions and answers: marks, reasoning, history, preferences, nulls, silence."""

from __future__ import annotations

from kubetune_contract import Missing

from .case import (
    AGAIN,
    ASKED,
    CHAT,
    LEARNED_B,
    NULLABLE,
    NULLS,
    SAID,
    TOLD,
    WRONG,
    B,
    RowCase,
    called,
    file,
    flagged,
    lines,
    pair,
)

CASES = (
    # Marks that say what is learned.
    RowCase("marks", "train: false, of a public report", "train-flag.jsonl", file("train-flag.jsonl"), (LEARNED_B,)),
    RowCase("marks", "loss: false", "a.jsonl", flagged(loss=False), (LEARNED_B,)),
    RowCase("marks", "training: false", "a.jsonl", flagged(training=False), (LEARNED_B,)),
    RowCase("marks", "loss: 0 beside weight: null", "a.jsonl", flagged(loss=0, weight=None), (LEARNED_B,)),
    RowCase(
        "marks",
        "loss: false in ShareGPT",
        "a.jsonl",
        lines({"conversations": [SAID[0], {**SAID[1], "loss": False}, *SAID]}),
        ({"messages": [ASKED, {**TOLD, "weight": 0}, ASKED, TOLD]},),
    ),
    RowCase("marks", 'train: "no"', "a.jsonl", flagged(train="no"), said="has the train 'no'; it is true (learned)"),
    RowCase("marks", "marks that differ", "a.jsonl", flagged(train=False, weight=1), said="weight and train, of which"),
    RowCase(
        "marks",
        "train: true on a question",
        "a.jsonl",
        lines({"messages": [{**ASKED, "train": True}, TOLD]}),
        said="message 1 (user) has train: true, but only assistant messages are learned",
    ),
    # What the assistant thinks.
    RowCase(
        "reasoning",
        "reasoning_content",
        "a.jsonl",
        lines({"messages": [ASKED, {**TOLD, "reasoning_content": "hm"}]}),
        ({"messages": [ASKED, {**TOLD, "reasoning_content": "hm"}]},),
    ),
    RowCase(
        "reasoning",
        "thinking, as some call it",
        "a.jsonl",
        lines({"messages": [ASKED, {**TOLD, "thinking": "hm"}]}),
        ({"messages": [ASKED, {**TOLD, "reasoning_content": "hm"}]},),
    ),
    RowCase(
        "reasoning",
        "two that differ",
        "a.jsonl",
        lines({"messages": [ASKED, {**TOLD, "thinking": "hm", "reasoning": "oh"}]}),
        said="message 2 (assistant) has reasoning and thinking, which differ",
    ),
    RowCase(
        "reasoning",
        "of a question",
        "a.jsonl",
        lines({"messages": [{**ASKED, "reasoning_content": "hm"}, TOLD]}),
        (CHAT,),
        unused=("messages[].reasoning_content",),
    ),
    # Alpaca's further members.
    RowCase(
        "Alpaca",
        "system, of a public report",
        "alpaca-system.jsonl",
        file("alpaca-system.jsonl"),
        (pair("Answer in German.\n\na", "b"),),
    ),
    RowCase(
        "Alpaca",
        "history",
        "a.jsonl",
        lines({"instruction": "a", "input": "i", "output": "b", "history": [["q", "r"]], "system": "s"}),
        (pair("s\n\nq\n\nr\n\na\n\ni", "b"),),
    ),
    RowCase(
        "Alpaca",
        "an empty history, a null system",
        "a.jsonl",
        lines({"instruction": "a", "input": "", "output": "b", "history": [], "system": None}),
        (pair("a", "b"),),
    ),
    RowCase(
        "Alpaca",
        "history as JSON text in CSV, names in capitals",
        "a.csv",
        'Instruction,Output,History\na,b,"[[""q"",""r""]]"\n',
        (pair("q\n\nr\n\na", "b"),),
        columns={"instruction": "Instruction", "output": "Output", "history": "History"},
        confidence=1.0,
    ),
    RowCase(
        "Alpaca",
        "a history that is none",
        "a.jsonl",
        lines({"instruction": "a", "output": "b", "history": ["q", "r"]}),
        said="history: turn 1 is not [question, answer]",
    ),
    RowCase(
        "Alpaca",
        "system beside a prompt wins over systemPrompt",
        "a.jsonl",
        lines({"prompt": "a", "completion": "b", "system": "own"}),
        (pair("own\n\na", "b"),),
        settings={"system_prompt": "Be brief."},
    ),
    RowCase(
        "Alpaca",
        "system beside messages",
        "a.jsonl",
        lines({**CHAT, "system": "s"}),
        ({"messages": [{"role": "system", "content": "s"}, ASKED, TOLD]},),
    ),
    RowCase(
        "Alpaca",
        "system beside a chat that has another",
        "a.jsonl",
        lines({"messages": [{"role": "system", "content": "own"}, ASKED, TOLD], "system": "s"}),
        ({"messages": [{"role": "system", "content": "own"}, ASKED, TOLD]},),
        unused=("system",),
        told=("the chat has a system message of its own",),
    ),
    # Preference data.
    RowCase(
        "preference",
        "pairs, of a public report",
        "dpo.jsonl",
        file("dpo.jsonl"),
        None,
        "PreferenceData",
        "line 1: is preference data (a better and a worse answer)",
    ),
    RowCase(
        "preference",
        "pairs of chats, of a public report",
        "dpo-chat.jsonl",
        file("dpo-chat.jsonl"),
        None,
        "PreferenceData",
        "columns: {messages: chosen}",
    ),
    RowCase(
        "preference",
        "a conversation with chosen and rejected",
        "a.jsonl",
        lines({"conversations": SAID[:1], "chosen": SAID[1], "rejected": SAID[1]}),
        said="there is nothing to learn; the row is preference data",
    ),
    RowCase(
        "preference",
        "chosen_response and rejected_response",
        "a.csv",
        "question,chosen_response,rejected_response\na,b,c\n",
        None,
        "PreferenceData",
        "columns: {prompt: question, completion: chosen_response}",
    ),
    RowCase(
        "preference",
        "the better answers, named",
        "dpo.jsonl",
        file("dpo.jsonl"),
        (pair("a", "good"),),
        settings={"columns": {"completion": "chosen"}},
        unused=("rejected",),
    ),
    RowCase(
        "preference",
        "a chat beside a pair",
        "a.jsonl",
        lines({**CHAT, "chosen": [TOLD], "rejected": [WRONG]}),
        (CHAT,),
        unused=("chosen", "rejected"),
    ),
    RowCase(
        "preference",
        "KTO's label: false",
        "a.jsonl",
        lines({**pair("a", "b"), "label": True}, {**pair("a", "c"), "label": False}),
        said="line 2: has label: false, by which preference data (KTO) marks a bad answer",
    ),
    RowCase(
        "preference",
        "KTO's label in CSV",
        "a.csv",
        "prompt,completion,label\na,b,False\n",
        said="line 2: has label: false",
    ),
    RowCase("preference", "kto_tag", "a.jsonl", lines({**CHAT, "kto_tag": False}), said="has kto_tag: false"),
    RowCase("preference", "KTO's good answers", "a.jsonl", lines({**pair("a", "b"), "label": True}), (pair("a", "b"),)),
    # Nulls that `datasets` writes.
    RowCase(
        "nulls",
        "arguments, of a public report",
        "hf-args-null.jsonl",
        file("hf-args-null.jsonl"),
        (
            {
                "messages": [
                    {"role": "user", "content": "Oslo?"},
                    called({"city": "Oslo"})["messages"][1],
                    {"role": "tool", "content": "rain"},
                    {"role": "assistant", "content": "Rain."},
                ]
            },
            {
                "messages": [
                    {"role": "user", "content": "Time?"},
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [
                            {"type": "function", "function": {"name": "clock", "arguments": {"zone": "CET"}}}
                        ],
                    },
                    {"role": "tool", "content": "noon"},
                    {"role": "assistant", "content": "Noon."},
                ]
            },
        ),
        told=(NULLS,),
    ),
    RowCase(
        "nulls",
        "arguments as JSON text keep them",
        "a.jsonl",
        lines(called('{"zone": null}')),
        (called({"zone": None}),),
    ),
    RowCase(
        "nulls",
        "arguments that the definition allows to be null",
        "a.jsonl",
        lines(called({"zone": None, "city": None}, tools=[NULLABLE])),
        (called({"zone": None}, tools=[{"type": "function", "function": NULLABLE}]),),
        told=(NULLS,),
    ),
    RowCase(
        "nulls",
        "members of definitions",
        "a.jsonl",
        lines(
            called(
                {},
                tools=[
                    {
                        "type": "function",
                        "function": {
                            "name": "weather",
                            "parameters": {
                                "type": "object",
                                "properties": {"city": {"type": "string", "enum": None}, "zone": None},
                            },
                        },
                    }
                ],
            )
        ),
        (
            called(
                {},
                tools=[
                    {
                        "type": "function",
                        "function": {
                            "name": "weather",
                            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                        },
                    }
                ],
            ),
        ),
        told=(NULLS,),
    ),
    RowCase(
        "nulls",
        "members of messages",
        "a.jsonl",
        lines(
            {
                "messages": [
                    {**ASKED, "name": None, "tool_calls": None},
                    {**TOLD, "weight": None, "reasoning_content": None},
                ],
                "tools": None,
            }
        ),
        (CHAT,),
    ),
    # Answers of nothing.
    RowCase(
        "empty answers",
        "in the middle, of a public report",
        "empty-assistant.jsonl",
        file("empty-assistant.jsonl"),
        said="line 1: message 2 (assistant) is empty, so that saying nothing would be learned",
    ),
    RowCase(
        "empty answers",
        "in ShareGPT, of a public report",
        "sg-empty-turn.jsonl",
        file("sg-empty-turn.jsonl"),
        said="line 1: message 2 (assistant) is empty",
    ),
    RowCase(
        "empty answers",
        "of white space at the end",
        "a.jsonl",
        lines({"messages": [ASKED, TOLD, AGAIN, {**B, "content": " \n"}]}),
        said="message 4 (assistant) is empty",
    ),
    RowCase(
        "empty answers",
        "null in the middle",
        "a.jsonl",
        lines({"messages": [ASKED, {**TOLD, "content": None}, AGAIN, B]}),
        said="message 2 (assistant) has null as content",
    ),
    RowCase(
        "empty answers",
        "that are context",
        "a.jsonl",
        lines({"messages": [ASKED, {"role": "assistant", "content": "", "weight": 0}, AGAIN, B]}),
        ({"messages": [ASKED, {"role": "assistant", "content": "", "weight": 0}, AGAIN, B]},),
    ),
    RowCase(
        "empty answers",
        "left out",
        "a.jsonl",
        file("empty-assistant.jsonl") + lines(CHAT).encode(),
        (CHAT,),
        settings={"missing": Missing.DROP},
        missing=1,
    ),
    # Chats that the assistant begins.
    RowCase(
        "assistant first",
        "a greeting",
        "a.jsonl",
        lines({"messages": [TOLD, ASKED, B]}),
        ({"messages": [TOLD, ASKED, B]},),
    ),
    RowCase(
        "assistant first",
        "a greeting in ShareGPT",
        "a.jsonl",
        lines({"conversations": [SAID[1], *SAID]}),
        ({"messages": [TOLD, ASKED, TOLD]},),
    ),
)
