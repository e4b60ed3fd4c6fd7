"""Holds model.py equal to transformers' Qwen3_5ForCausalLM in float32: logits of all five ratios, and the chunked gated
delta rule against the token-by-token recurrence, forward and backward."""

import torch
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig
from transformers.models.qwen3_5 import modeling_qwen3_5 as reference

import model as m


def reference_config(ratio):
    sections = [6, 5, 5]
    return Qwen3_5TextConfig(**m.CONFIG, layer_types=m.layer_types(ratio), eos_token_id=4095, pad_token_id=4093, bos_token_id=None,
                             rope_parameters={"rope_type": "default", "rope_theta": m.ROPE_THETA, "mrope_section": sections,
                                              "mrope_interleaved": True, "partial_rotary_factor": m.ROTARY_FACTOR})


def main():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 512, 3, 64, requires_grad=True) for _ in range(3))
    g = (-torch.rand(2, 512, 3) * torch.tensor([0.001, 0.1, 2.0])).requires_grad_()
    beta = torch.rand(2, 512, 3, requires_grad=True)
    ours = m.gated_delta_rule(q, k, v, g, beta)
    theirs, _ = reference.torch_recurrent_gated_delta_rule(q, k, v, g=g, beta=beta, initial_state=None, output_final_state=False,
                                                           use_qk_l2norm_in_kernel=True)
    probe = torch.randn_like(ours)
    for name, a, b in zip("out dq dk dv dg dbeta".split(),
                          (ours, *torch.autograd.grad((ours * probe).sum(), (q, k, v, g, beta))),
                          (theirs, *torch.autograd.grad((theirs * probe).sum(), (q, k, v, g, beta)))):
        error = ((a - b).norm() / b.norm()).item()
        print(f"gated delta rule, {name}: relative difference {error:.1e}")
        assert error < 2e-5
    for ratio in m.INTERVAL:
        ours = m.Model(ratio, torch.float32)
        for p in ours.parameters():
            p.data += 0.02 * torch.randn_like(p)
        theirs = Qwen3_5ForCausalLM(reference_config(ratio)).eval()
        state = ours.state_dict()
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
        theirs.load_state_dict(state)
        ids = torch.randint(0, 4096, (2, 256))
        with torch.no_grad():
            a, b = ours.logits(ids), theirs(ids, use_cache=False).logits
        error = ((a - b).norm() / b.norm()).item()
        count = sum(p.numel() for p in ours.parameters())
        print(f"{ratio}: {count} parameters, logits differ by {error:.1e}")
        assert error < 1e-4


if __name__ == "__main__":
    main()
