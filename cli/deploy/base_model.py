"""`murmur doctor` on a node: its copy of a pre-trained model, beside what a run wants of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.deploy.finding import Finding

if TYPE_CHECKING:
    from recipes import RunConfig
    from speech.pretrained.folder import ModelFolder

NOT_KNOWN = "not known"


@dataclass(frozen=True, kw_only=True)
class BaseModelCheck:
    """Which copy of a model is looked at, and with what it is compared.

    Attributes:
        own: The folder as in --node-config, or a name in the store; "" for what the recipe names.
        recipe: The run's recipe; None if there is none to compare with.
        digest: The digest that the model must have; "" for that of the recipe, if it has one.
        models: The node's limit `models`; None for the default.

    Example:
        >>> [finding.good for finding in BaseModelCheck(own="/nowhere").findings()]
        [False]
    """

    own: str = ""
    recipe: Path | None = None
    digest: str = ""
    models: str | None = None

    def findings(self) -> Iterator[Finding]:
        """Describe the copy; then what differs from the run, and whether the limit allows the model.

        It makes the run's model without its weights.
        """
        # Imported here: the other checks should also work where torch does not.
        from recipes import ConfigError
        from speech.errors import SpeechError

        try:
            config = _read(self.recipe) if self.recipe else None
        except ConfigError as error:
            yield Finding(f"recipe {self.recipe}", False, str(error))
            return
        if config is not None and config.model.is_preset:
            yield Finding("base model", True, f"model.name = {config.model.name!r} needs none")
        else:
            try:
                yield from self._of_the_copy(config)
            except (ConfigError, SpeechError) as error:
                yield Finding("base model", False, str(error))
        yield from self._of_the_limit(config)

    def _of_the_copy(self, config: RunConfig | None) -> Iterator[Finding]:
        from client.base_model import COPY_HERE

        folder = self._folder(config)
        wanted = self.digest.lower() or (config.model.digest if config else "")
        same = wanted in ("", folder.digest)
        words = _described(folder)
        if wanted:
            words += ", that of the run" if same else f", and the run's model has {wanted}: {COPY_HERE}"
        yield Finding(f"base model {folder.path}", same, words)
        if same and config is not None:
            yield Finding(f"recipe {self.recipe}", True, _fitting(config, folder))

    def _folder(self, config: RunConfig | None) -> ModelFolder:
        """The copy that a node takes. Raises `ConfigError` or `ModelError` if there is none."""
        from client.base_model import COPY_AND_NAME
        from recipes import ConfigError, resolve
        from speech.pretrained.folder import ModelFolder
        from speech.pretrained.store import find_folder, in_store

        if self.own:
            return find_folder(self.own) if in_store(self.own) else ModelFolder(resolve(self.own))
        name = config.model.name if config else ""
        if Path(name).is_absolute():
            raise ConfigError(
                f"model.name = {name!r} is a path of the server's, which a node does not open: "
                f"{COPY_AND_NAME}"
            )
        return find_folder(name)

    def _of_the_limit(self, config: RunConfig | None) -> Iterator[Finding]:
        from client.policy.limits import NodePolicy
        from recipes import ConfigError
        from speech.pretrained.store import is_stored_name

        given = {} if self.models is None else {"models": self.models}
        try:
            policy = NodePolicy.of(given, real_speakers=True)
        except ConfigError as error:
            yield Finding("limit models", False, str(error))
            return
        own = self.own if is_stored_name(self.own) else ""
        name = config.model.name if config else own
        if policy.allows_model(name) or (not name and policy.allows_pretrained):
            return
        limit = f"models = {policy.models}{'' if given else ' (the default)'}"
        remedy = name if is_stored_name(name) else "owner/name" if not name else "any"
        words = (
            f"{limit} does not allow {name or 'pre-trained models'}: --node-config 'models=\"{remedy}\"' does"
        )
        yield Finding("limit models", True, words, warning=True)


def _read(recipe: Path) -> RunConfig:
    from cli.composing import default_config, read_recipe, with_absolute_paths
    from recipes import RunConfig

    return RunConfig.from_flat({**default_config(), **with_absolute_paths(read_recipe(recipe))})


def _described(folder: ModelFolder) -> str:
    """Family, licence, revision and digest. Raises `ModelError` if nothing here can use the model."""
    from speech.model.choice import family_name

    family = family_name(folder)
    licence, revision = folder.licence or NOT_KNOWN, folder.revision or NOT_KNOWN
    return f"family {family}, licence {licence}, revision {revision}, model.digest {folder.digest}"


def _fitting(config: RunConfig, folder: ModelFolder) -> str:
    """What the run trains of this model. Raises `ConfigError` or `ModelError` if it cannot."""
    import torch

    from client.training.model import model_to_train
    from optim.flat_model import layout_of
    from speech.text import alphabet_of

    folder.require_digest(config.model.digest)
    alphabet = alphabet_of(config.corpus.language, config.corpus.characters)
    with torch.device("meta"):
        model = model_to_train(config.model, config.local, alphabet, folder=folder.path, weights=False)
        size = layout_of(model, config.privacy.groups).size
    return f"trains {size:,} parameters of this model; the others never leave the node"
