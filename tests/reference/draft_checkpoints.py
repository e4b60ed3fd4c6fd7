"""Adds tests/data/checkpoints/*-draft: checkpoints with a multi-token prediction head, and what it guesses.

    python draft_checkpoints.py ../data/checkpoints

transformers leaves the head out. Here it is put together from transformers' own decoder layer, norm and
rotary embedding, by delta.md section 11: the head joins the next token's embedding with the trunk's final
hidden row, both normed, and runs one layer of full attention over the joined rows.
expected.safetensors gets "draft" (T - 1, vocab) f32: row r guesses the token after tokens[r + 1].

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.qwen3_5 import modeling_qwen3_5
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig
from transformers.models.qwen3_next import modeling_qwen3_next

import checkpoint_writer

torch.set_num_threads(1)
assert transformers.__version__ == "5.23.0", transformers.__version__


class Head(torch.nn.Module):
    """Parameters by the names that published checkpoints give them, less "mtp."."""

    def __init__(self, config, layer_class, norm_class, full_layer):
        super().__init__()
        self.fc = torch.nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.pre_fc_norm_embedding = norm_class(config.hidden_size, eps=config.rms_norm_eps)
        self.pre_fc_norm_hidden = norm_class(config.hidden_size, eps=config.rms_norm_eps)
        self.norm = norm_class(config.hidden_size, eps=config.rms_norm_eps)
        self.layers = torch.nn.ModuleList([layer_class(config, full_layer)])
        self.config = config

    def forward(self, model, ids):
        hidden = model.model(input_ids=ids[None], use_cache=False).last_hidden_state
        embedded = model.model.embed_tokens(ids[None, 1:])
        x = self.fc(torch.cat([self.pre_fc_norm_embedding(embedded),
                               self.pre_fc_norm_hidden(hidden[:, :-1])], dim=-1))
        rows = x.shape[1]
        positions = torch.arange(rows)[None]
        rotary = model.model.rotary_emb(x, positions)
        mask = torch.full((rows, rows), float("-inf")).triu(1)[None, None]
        out = self.layers[0](x, position_embeddings=rotary, attention_mask=mask,
                             position_ids=positions)
        out = out[0] if isinstance(out, tuple) else out
        return model.lm_head(self.norm(out))[0].float()


def add_head(folder, model, modeling, layer_class, norm_class, seed):
    """To a checkpoint that checkpoint_writer has written."""
    config = model.config
    head = Head(config, getattr(modeling, layer_class), getattr(modeling, norm_class),
                config.layer_types.index("full_attention"))
    checkpoint_writer.fill(head, seed)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(p.to(torch.bfloat16).float())
        expected = load_file(folder / "expected.safetensors")
        expected["draft"] = head.eval()(model, expected["tokens"].long()).contiguous()
    save_file(expected, folder / "expected.safetensors")
    path = folder / "hf" / "model.safetensors"
    state = load_file(path)
    for name, p in head.state_dict().items():
        p = p.to(torch.bfloat16)
        if ".experts." not in name:
            state["mtp." + name] = p
            continue
        # transformers stacks experts in memory, (E, 2 I, H) and (E, H, I); the releases do not.
        base = "mtp." + name.split(".experts.")[0] + ".experts."
        for e in range(p.shape[0]):
            if name.endswith("gate_up_proj"):
                gate, up = p[e].chunk(2)
                state[f"{base}{e}.gate_proj.weight"] = gate.contiguous()
                state[f"{base}{e}.up_proj.weight"] = up.contiguous()
            else:
                state[f"{base}{e}.down_proj.weight"] = p[e].contiguous()
    save_file(state, path, metadata={"format": "pt"})


def main(out):
    out = pathlib.Path(out)
    common = dict(vocab_size=96, hidden_size=48, num_hidden_layers=4, num_attention_heads=4,
                  num_key_value_heads=2, head_dim=16, linear_num_key_heads=2,
                  linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
                  max_position_embeddings=1024,
                  rope_parameters={"rope_type": "default", "rope_theta": 1e6,
                                   "partial_rotary_factor": 0.5})
    dense = transformers.Qwen3_5ForCausalLM._from_config(
        Qwen3_5TextConfig(**common, intermediate_size=60, tie_word_embeddings=True),
        attn_implementation="eager")
    checkpoint_writer.write(out / "qwen3.5-draft", dense, tokens=120, seed=21, write_gguf=False)
    add_head(out / "qwen3.5-draft", dense, modeling_qwen3_5, "Qwen3_5DecoderLayer", "Qwen3_5RMSNorm", 22)
    mixture = transformers.Qwen3NextForCausalLM._from_config(
        transformers.Qwen3NextConfig(**common, intermediate_size=60, moe_intermediate_size=16,
                                     shared_expert_intermediate_size=20, num_experts=4,
                                     num_experts_per_tok=2),
        attn_implementation="eager")
    checkpoint_writer.write(out / "qwen3-next-draft", mixture, tokens=120, seed=23, write_gguf=False)
    add_head(out / "qwen3-next-draft", mixture, modeling_qwen3_next, "Qwen3NextDecoderLayer",
             "Qwen3NextRMSNorm", 24)


if __name__ == "__main__":
    main(sys.argv[1])
