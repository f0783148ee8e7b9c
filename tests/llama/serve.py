"""Run llama.cpp's own HTTP server on a free loopback port until stdin closes.

usage: python serve.py MODEL.gguf [API-KEY]        prints the server's address when it listens

It ends with its parent, however that ends: the pipe closes with it.
"""

import os
import sys

import xllamacpp


def main(model: str, key: str = "") -> None:
    """Serve until stdin reaches its end."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"tiny"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 16384  # over all slots: the model takes 4096, smolagents alone sends 2100
    params.n_parallel = 4
    params.ctx_shift = True  # an answer without an end is possible, for who stops it
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 2
    params.use_jinja = True
    params.warmup = False
    if key:
        params.api_keys = [key]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # the C++ threads have no other end


if __name__ == "__main__":
    main(*sys.argv[1:])
