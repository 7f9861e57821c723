"""A node: its users' sentences are trained and clipped here, and one sum leaves."""

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor
from torch.nn.functional import cross_entropy

from optim.flat_model import bind, bind_gradients
from text_app.data import make_model, sentences_of
from wire.node_answers import answer_query, answer_task
from wire.node_info import NodeInfo

USERS = 250  # of each node
app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """The number of users here."""
    return answer_query(message, NodeInfo(speakers=USERS, dataset="generated topics", split="train"))


@app.train()
def train(message: Message, context: Context) -> Message:
    """The sum of the drawn users' clipped updates."""
    model = make_model()
    layout, weights = bind(model)
    gradients = bind_gradients(model, layout)

    def update(user: int, start: Tensor) -> tuple[Tensor, float]:
        weights.copy_(start)
        words, topics = sentences_of(int(context.node_config["partition-id"]) * USERS + user)
        for _ in range(5):
            gradients.zero_()
            loss = cross_entropy(model(words), topics)
            loss.backward()
            with torch.no_grad():
                weights.sub_(gradients, alpha=1.0)
        return start - weights, float(loss)

    return answer_task(message, layout, update)
