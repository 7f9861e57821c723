"""The values of a model's settings that are one of a few words; recipes and models both check them."""

from typing import Literal

Window = Literal["padded", "short"]
"""Whether an utterance is filled up to the model's window, or taken alone."""

Head = Literal["base", "characters"]
"""The model's own output layer, or a new one with the characters of the corpus."""

AdapterTrain = Literal["B", "AB"]
"""Which factors of an adapter are trained."""
