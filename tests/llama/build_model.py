"""Write the tiny trained model as one GGUF file, which the real llama.cpp server loads.

usage: python build_model.py OUT.gguf        (needs numpy and gguf)

The model is a Llama of 0.44 million parameters that has learned the dialogues of canned.json by
heart. Its parts lie beside this file: trained.safetensors (weights), merges.txt (a byte-level
BPE tokenizer, one merge a line) and chat_template.jinja (ChatML, with Hermes' tool calls).

Formats: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md,
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).parent
CONTEXT, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_WIDTH, FEED_FORWARD = 4096, 128, 2, 2, 1, 64, 256
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
]

TENSORS = {  # Hugging Face's names: llama.cpp's
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the float32 tensors of a file: eight bytes of length, a JSON header, the data."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, spec in header.items():
        begin, end = (start + offset for offset in spec["data_offsets"])
        tensors[name] = np.frombuffer(raw[begin:end], np.float32).reshape(spec["shape"])
    return tensors


def byte_alphabet() -> list[str]:
    """Return the 256 letters that GPT-2's tokenizer writes for the bytes, in byte order."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    rest = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(rest)) for byte in range(256)]


def vocabulary(merges: list[str]) -> list[str]:
    """Return the tokens in the order of their ids: bytes, merges, control tokens, marks."""
    merged = (merge.replace(" ", "") for merge in merges)
    return [*dict.fromkeys([*byte_alphabet(), *merged]), *CONTROL, *MARKS]


def interleaved(weights: np.ndarray, heads: int) -> np.ndarray:
    """Reorder rotary pairs from Hugging Face's two halves to llama.cpp's neighbours."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))


def tensor_name(name: str) -> str:
    """Return llama.cpp's name of a weight."""
    stem = name.removesuffix(".weight")
    if stem in TENSORS:
        return f"{TENSORS[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{TENSORS[part]}.weight"


def write_architecture(out: gguf.GGUFWriter, tokens: int) -> None:
    """Write the shapes of the network."""
    out.add_name("tiny")
    out.add_type("model")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED_FORWARD)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_key_length(HEAD_WIDTH)
    out.add_value_length(HEAD_WIDTH)
    out.add_rope_dimension_count(HEAD_WIDTH)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(tokens)
    out.add_file_type(gguf.LlamaFileType.ALL_F32)


def write_tokenizer(out: gguf.GGUFWriter, tokens: list[str], merges: list[str]) -> None:
    """Write vocabulary, merges and chat template."""
    kind = gguf.TokenType
    plain = len(tokens) - len(CONTROL) - len(MARKS)
    types = [kind.NORMAL] * plain + [kind.CONTROL] * len(CONTROL)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types(types + [kind.USER_DEFINED] * len(MARKS))
    out.add_token_merges(merges)
    out.add_bos_token_id(tokens.index("<|endoftext|>"))
    out.add_eos_token_id(tokens.index("<|im_end|>"))
    out.add_pad_token_id(tokens.index("<|endoftext|>"))
    out.add_add_bos_token(value=False)
    out.add_chat_template((HERE / "chat_template.jinja").read_text(encoding="utf-8"))


def main(path: str) -> None:
    """Write the whole file."""
    merges = (HERE / "merges.txt").read_text(encoding="utf-8").splitlines()
    tokens = vocabulary(merges)
    out = gguf.GGUFWriter(path, "llama")
    write_architecture(out, len(tokens))
    write_tokenizer(out, tokens, merges)
    turns = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}
    for name, weights in read_safetensors(HERE / "trained.safetensors").items():
        heads = next((n for part, n in turns.items() if part in name), 0)
        out.add_tensor(tensor_name(name), interleaved(weights, heads) if heads else weights)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main(sys.argv[1])
