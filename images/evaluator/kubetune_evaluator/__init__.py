"""The evaluator: generates answers of a candidate and its baselines for the same items, scores and compares them.

Pure: items, metrics, corpus, statistics, compare, verdict, report, page, summary.
I/O: prepare, plan, models, generate, evaluate.
"""
