"""Starts LiteLLM's proxy as `python -m litellm.proxy.proxy_cli` does, with less garbage collection.

Its imports make objects that stay: looking for garbage among them is two of eight seconds of processor time. LiteLLM
sets the same threshold itself, when it has imported all.
"""

import gc
import os
import runpy

gc.set_threshold(*map(int, os.environ["PYTHON_GC_THRESHOLD"].split(",")))
runpy.run_module("litellm.proxy.proxy_cli", run_name="__main__", alter_sys=True)
