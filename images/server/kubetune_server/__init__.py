"""The model server: ``fetch`` brings model and adapter into the cache, ``serve`` becomes vLLM.

Pure: adapter_check, model_check, serve_args. I/O: fetch, cache, hardware, serve.
"""
