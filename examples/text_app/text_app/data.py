"""Generated texts: each user writes sentences, and each sentence has one of four topics."""

import torch
from torch import Tensor, nn

WORDS, TOPICS, SENTENCES, LENGTH = 64, 4, 20, 8


def make_model() -> nn.Module:
    """The mean of word vectors, and a linear layer; the same start everywhere."""
    torch.manual_seed(0)
    return nn.Sequential(nn.EmbeddingBag(WORDS, 16), nn.Linear(16, TOPICS))


def sentences_of(user: int) -> tuple[Tensor, Tensor]:
    """Word numbers (SENTENCES, LENGTH) and topics: half of the words are words of the topic."""
    coins = torch.Generator().manual_seed(user)
    topics = torch.randint(TOPICS, (SENTENCES,), generator=coins)
    of_topic = torch.randint(WORDS // TOPICS, (SENTENCES, LENGTH), generator=coins) * TOPICS + topics[:, None]
    others = torch.randint(WORDS, (SENTENCES, LENGTH), generator=coins)
    return torch.where(torch.rand(SENTENCES, LENGTH, generator=coins) < 0.5, of_topic, others), topics
