"""Writes tests/data/chat_model: a tiny random hybrid with a byte-level tokenizer and a chat template
that leaves the thinking of earlier replies out, for tests of conversations.

    python make_chat_model.py ../data/chat_model

Versions: torch 2.15, transformers 5.23.0, tokenizers 0.23.3.
"""

import json
import pathlib
import sys

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig

import checkpoint_writer

TEMPLATE = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{{- message.content.split('</think>')[-1].lstrip('\\n') }}
{%- else %}
{{- message.content }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking %}
{{- '<think>\\n' }}
{%- endif %}
{%- endif %}"""


def main(out):
    out = pathlib.Path(out)
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials[:3])
    tokenizer.add_tokens(specials[3:])

    config = Qwen3_5TextConfig(
        vocab_size=264, hidden_size=40, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=20, intermediate_size=48, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
        tie_word_embeddings=True, max_position_embeddings=4096,
        layer_types=["linear_attention", "full_attention", "linear_attention",
                     "linear_attention"])
    model = transformers.Qwen3_5ForCausalLM._from_config(config, attn_implementation="eager")
    out.mkdir(parents=True, exist_ok=True)
    checkpoint_writer.save_rounded(checkpoint_writer.fill(model, 90), out)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
                    "add_bos_token": False}, indent=1) + "\n")
    (out / "chat_template.jinja").write_text(TEMPLATE)
    (out / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9,
                    "eos_token_id": [258, 256]}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
