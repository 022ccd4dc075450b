"""The trainer: supervised fine-tuning of a base model on a dataset, from the contract's TrainConfig to an artifact.

Where what is:

- the three commands: ``preflight/``, ``prepare``, ``train`` (with ``learn`` for all that needs torch)
- before: ``validate``, ``capability``, ``exportable``
- rows to tokens: ``data``, ``tokenizer``, ``packing``
- settings to libraries: ``sft``, ``build``, ``model``, ``device``
- in the loop: ``callbacks``, ``guard``, ``early``, ``stop``
- nothing is lost: ``runstate`` ``cadence``, ``saving``, ``uploader``, ``checkpoints``, ``loopstate``
- memory and recovery: ``probe``, ``ladder``, ``memory``, ``recovery``, ``carryover``
- several processes: ``launch``, ``place``, ``ranks``, ``sharding``, ``shortfall``
- what is told: ``report``, ``observer``, ``signs``, ``advice``, ``hardware``; to MLflow: ``tracking``, ``mlflow_run``,
  ``records``, ``tracked``
- what comes out: ``publishing``, ``patience``, ``results``, ``card``; ``export`` and ``exporter`` with ``merge``,
  ``gguf_export``, ``gguf_vocab``, ``modelfile``
"""
