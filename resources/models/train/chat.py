"""Ask a GGUF file of the family questions, through transformers' classes: chat.py FILE "question" ["next turn" ...]"""

import re
import sys

import gguf
import jinja2
import torch

import corpus
import export_gguf
import model as m
from check_model import filled
from tokenizers import Tokenizer


def load(path):
    name = re.search(r"ratio-(.*)\.gguf", str(path)).group(1)
    return filled(name, export_gguf.read(name, path))


@torch.no_grad()
def greedy(network, ids, stop, most=60):
    """Greedy continuation; without a cache where the model has no attention layer, since transformers has none there."""
    ids, start = list(ids), len(ids)
    cached = m.FULL in network.config.layer_types
    past, feed = None, torch.tensor([ids])
    while len(ids) - start < most:
        out = network(feed, past_key_values=past, use_cache=cached)
        token = out.logits[0, -1].argmax().item()
        if token in stop:
            break
        ids.append(token)
        past, feed = (out.past_key_values, torch.tensor([[token]])) if cached else (None, torch.tensor([ids]))
    return ids[start:]


def converse(network, tokenizer, questions, template):
    messages, answers = [], []
    stop = {tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")}
    for question in questions:
        messages.append({"role": "user", "content": question})
        prompt = template.render(messages=messages, add_generation_prompt=True)
        answer = tokenizer.decode(greedy(network, tokenizer.encode(prompt).ids, stop))
        messages.append({"role": "assistant", "content": answer})
        answers.append(answer)
    return answers


def template():
    return jinja2.Environment(trim_blocks=False).from_string(export_gguf.TEMPLATE)


if __name__ == "__main__":
    network = load(sys.argv[1])
    tokenizer = Tokenizer.from_file(str(__import__("pathlib").Path(__file__).parent.parent / "tokenizer.json"))
    for q, a in zip(sys.argv[2:], converse(network, tokenizer, sys.argv[2:], template())):
        print(f"> {q}\n{a}")
