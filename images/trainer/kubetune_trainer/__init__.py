"""The trainer: supervised fine-tuning of a base model on a dataset, from the contract's TrainConfig to an artifact.

Three commands: ``preflight/``, ``prepare`` and ``train``, which hands over to ``learn`` for all that needs torch. What
they share stands beside them: ``job`` (configuration and what it talks to), ``workspace`` (where prepare leaves the
inputs), ``validate`` and ``patience``. Each folder's ``__init__`` says what it is about; a module that imports torch
says so in its docstring.
"""
