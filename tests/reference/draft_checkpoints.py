"""Adds tests/data/checkpoints/*-draft: checkpoints with a multi-token prediction head, and what it guesses.

    python draft_checkpoints.py FOLDER    (then pack_checkpoints.py FOLDER)

transformers leaves the head out. Here it is put together from transformers' own decoder layer, norm and
rotary embedding, by delta.md section 11: the head joins the next token's embedding with the trunk's final
hidden row, both normed, and runs one layer of attention over the joined rows.
expected.safetensors gets "draft" (T - 1, vocab) f32: row r guesses the token after tokens[r + 1].

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import copy
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.deepseek_v3 import modeling_deepseek_v3
from transformers.models.mimo_v2_flash import modeling_mimo_v2_flash
from transformers.models.qwen3_5 import modeling_qwen3_5
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig
from transformers.models.qwen3_next import modeling_qwen3_next

import checkpoint_writer
import softmax_checkpoints

torch.set_num_threads(1)
assert transformers.__version__ == "5.23.0", transformers.__version__


class Head(torch.nn.Module):
    """names: what the parts are called in published checkpoints, below `prefix`."""

    def __init__(self, config, layer, norm_class, names):
        super().__init__()
        self.names = names
        size, eps = config.hidden_size, getattr(config, "rms_norm_eps", 1e-5)
        self.join = torch.nn.Linear(2 * size, size, bias=False)
        self.embedding_norm = norm_class(size, eps=eps)
        self.hidden_norm = norm_class(size, eps=eps)
        self.norm = norm_class(size, eps=eps)
        self.layer = layer

    def forward(self, model, ids, rotary_kind=None, window=None):
        hidden = model.model(input_ids=ids[None], use_cache=False).last_hidden_state
        embedded = model.model.embed_tokens(ids[None, 1:])
        x = self.join(torch.cat([self.embedding_norm(embedded), self.hidden_norm(hidden[:, :-1])],
                                dim=-1))
        rows = x.shape[1]
        positions = torch.arange(rows)[None]
        rotary = model.model.rotary_emb(x, positions, *([rotary_kind] if rotary_kind else []))
        mask = torch.full((rows, rows), float("-inf")).triu(1)
        if window:
            mask += torch.full((rows, rows), float("-inf")).tril(-window)
        out = self.layer(x, position_embeddings=rotary, attention_mask=mask[None, None],
                         position_ids=positions)
        out = out[0] if isinstance(out, tuple) else out
        return model.lm_head(self.norm(out))[0].float()

    def published(self):
        state = {}
        for name, p in self.state_dict().items():
            part, rest = name.split(".", 1)
            p = p.to(torch.bfloat16)
            for old, new in self.names.get("renamed", {}).items():
                rest = rest.replace(old, new)
            base = self.names[part] + ("" if part == "layer" else ".") + rest
            if ".experts." not in name or p.dim() != 3:
                state[base] = p
                continue
            # transformers stacks experts in memory, (E, 2 I, H) and (E, H, I); the releases do not.
            base = base.split("experts.")[0] + "experts."
            for e in range(p.shape[0]):
                if name.endswith("gate_up_proj"):
                    gate, up = p[e].chunk(2)
                    state[f"{base}{e}.gate_proj.weight"] = gate.contiguous()
                    state[f"{base}{e}.up_proj.weight"] = up.contiguous()
                else:
                    state[f"{base}{e}.down_proj.weight"] = p[e].contiguous()
        return state


QWEN = {"join": "mtp.fc", "embedding_norm": "mtp.pre_fc_norm_embedding",
        "hidden_norm": "mtp.pre_fc_norm_hidden", "norm": "mtp.norm", "layer": "mtp.layers.0."}

MIMO = {part: "model.mtp.layers.0." + name for part, name in {
    "join": "eh_proj", "embedding_norm": "enorm", "hidden_norm": "hnorm",
    "norm": "final_layernorm", "layer": ""}.items()}
MIMO["renamed"] = {"post_attention_layernorm": "pre_mlp_layernorm",
                   "sinks": "attention_sink_bias"}


def behind(layer, norm="shared_head.norm"):
    head = f"model.layers.{layer}."
    return {"join": head + "eh_proj", "embedding_norm": head + "enorm",
            "hidden_norm": head + "hnorm", "norm": head + norm, "layer": head}


def add_head(folder, model, head, seed, rotary_kind=None, window=None):
    """To a checkpoint that checkpoint_writer has written."""
    # fill() asks the model's configuration how its norms are centred.
    head.config = model.config
    checkpoint_writer.fill(head, seed)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(checkpoint_writer.rounded(p).float())
        expected = load_file(folder / "expected.safetensors")
        expected["draft"] = head.eval()(model, expected["tokens"].long(), rotary_kind,
                                        window).contiguous()
    save_file(expected, folder / "expected.safetensors")
    path = folder / "hf" / "model.safetensors"
    save_file(load_file(path) | head.published(), path, metadata={"format": "pt"})
    print(folder.name, sum(f.stat().st_size for f in (folder / "hf").iterdir()))


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
    full = dense.config.layer_types.index("full_attention")
    add_head(out / "qwen3.5-draft", dense,
             Head(dense.config, modeling_qwen3_5.Qwen3_5DecoderLayer(dense.config, full),
                  modeling_qwen3_5.Qwen3_5RMSNorm, QWEN), 22)

    mixture = transformers.Qwen3NextForCausalLM._from_config(
        transformers.Qwen3NextConfig(**common, intermediate_size=60, moe_intermediate_size=16,
                                     shared_expert_intermediate_size=20, num_experts=4,
                                     num_experts_per_tok=2),
        attn_implementation="eager")
    checkpoint_writer.write(out / "qwen3-next-draft", mixture, tokens=120, seed=23, write_gguf=False)
    add_head(out / "qwen3-next-draft", mixture,
             Head(mixture.config, modeling_qwen3_next.Qwen3NextDecoderLayer(mixture.config, full),
                  modeling_qwen3_next.Qwen3NextRMSNorm, QWEN), 24)

    latent = transformers.DeepseekV3ForCausalLM._from_config(
        transformers.DeepseekV3Config(
            vocab_size=96, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=4, intermediate_size=60, moe_intermediate_size=16,
            n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1,
            first_k_dense_replace=1, q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=12,
            qk_rope_head_dim=8, v_head_dim=10, max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        attn_implementation="eager")
    checkpoint_writer.write(out / "deepseek-v3-draft", latent, tokens=120, seed=25,
                            write_gguf=False)
    add_head(out / "deepseek-v3-draft", latent,
             Head(latent.config, modeling_deepseek_v3.DeepseekV3DecoderLayer(latent.config, 2),
                  modeling_deepseek_v3.DeepseekV3RMSNorm, behind(3)), 26)

    # MiMo's head slides and is dense (softmax.md section 2.4), with the sinks of its window.
    sliding = softmax_checkpoints.build(transformers.MiMoV2FlashForCausalLM,
                                        softmax_checkpoints.mimo_config())
    checkpoint_writer.write(out / "mimo-v2-draft", sliding, tokens=120, seed=27,
                            config_edit=softmax_checkpoints.mimo_released, write_gguf=False)
    config = copy.deepcopy(sliding.config)
    config.mlp_layer_types = ["dense"] * config.num_hidden_layers
    layer = config.layer_types.index("sliding_attention")
    add_head(out / "mimo-v2-draft", sliding,
             Head(sliding.config, modeling_mimo_v2_flash.MiMoV2FlashDecoderLayer(config, layer),
                  modeling_mimo_v2_flash.MiMoV2FlashRMSNorm, MIMO), 28,
             rotary_kind="sliding_attention", window=config.sliding_window)


if __name__ == "__main__":
    main(sys.argv[1])
