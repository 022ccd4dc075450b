"""The evaluator: generates answers of a candidate and its baselines for the same items, scores and compares them.

Pure: items, metrics, corpus, statistics, checks, compare, verdict, summary, report, page. I/O: prepare, evaluate, models, generate.
"""
