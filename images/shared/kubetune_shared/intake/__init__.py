"""What a base model is, told from its files before a GPU is taken: complete or not, which class, quantised how, with
which tokenizer and template, and how much of that can be trained, evaluated and served here.

The modules are pure but for ``library`` and ``loading``, which ask transformers itself. Trainer, evaluator and server
all ask here, so that the same base gets the same answer everywhere.
"""
