"""The pages of the reference, from the code: nothing in them is written by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import groupby
from typing import Any

import click

from base import registries
from base.registry import Registry
from cli.composing import default_config
from cli.main import COMMANDS
from recipes.run_config import RunConfig, known_keys

# What an extension of each kind is made of: the objects that its author meets, as "module:name".
EXTENSION_POINTS = {
    "corpus kind": (
        *(
            "speech.corpora.builder:CorpusBuilder",
            "speech.corpora.corpus:Corpus",
            "speech.corpora.corpus:Rules",
        ),
        "speech.corpora.corpus:Utterance",
    ),
    "language": ("speech.text:Alphabet",),
    "clip rule": ("privacy.clipping.rules:by_dimension", "privacy.clipping.bounds:ClipBounds"),
    "noise shape": ("privacy.noise.shape:variance_optimal",),
    "server optimiser": ("optim:FlatOptimiser", "strategies:DPFedOpt", "strategies.named:NamedDPFedOpt"),
    "schedule": ("optim.schedules:exponential", "optim.schedules:ScheduleSettings"),
    "local algorithm": ("client.training.algorithms:LocalAlgorithm",),
    "model preset": (
        "speech.model.presets:Preset",
        "speech.model.config:ModelConfig",
        "speech.features.log_mel:FeatureConfig",
    ),
    "model family": ("speech.model.recogniser:Recogniser",),
}
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Guarantee|Example|Attributes):[ ]*(.*)$")


def pages() -> dict[str, str]:
    """The text of each page of the reference, by its name on the site."""
    return {
        "reference/configuration.md": configuration(),
        "reference/commands.md": commands(),
        "reference/extensions.md": extensions(),
    }


def configuration() -> str:
    """Every key of a recipe, as `murmur recipe` lists them, section by section."""
    defaults, meanings = default_config(), known_keys()
    lines = [
        "# Configuration",
        "Every key of a run, from the schema that checks it; `murmur recipe` prints the same. A recipe is a "
        "TOML file with some of them; `--set section.key=value` sets one. The defaults are those of the app "
        "(`pyproject.toml`); what `murmur run` runs without a recipe is `recipes/run/first-run.toml`.",
    ]
    for section, keys in groupby(meanings, key=lambda key: key.partition(".")[0]):
        rows = [(f"`{key}`", _code(_toml(defaults[key])), _plain(meanings[key])) for key in keys]
        summary = inspect.getdoc(RunConfig.model_fields[section].annotation) or ""
        lines += [
            f"## {section}",
            _plain(summary.partition("\n\n")[0]),
            _table(("key", "default", "meaning"), rows),
        ]
    return "\n\n".join(lines) + "\n"


def commands() -> str:
    """Every command with its arguments and options, from the command line itself."""
    lines = ["# Commands", "`murmur COMMAND --help` prints the same."]
    for name, lazy in COMMANDS.items():
        root = click.Context(click.Group("murmur"), info_name="murmur")
        for context in _with_subcommands(lazy.command(name), click.Context(lazy.command(name), root, name)):
            lines += _command(context)
    return "\n\n".join(lines) + "\n"


def _with_subcommands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            if not inner.hidden:
                yield from _with_subcommands(inner, click.Context(inner, context, name))


def _command(context: click.Context) -> list[str]:
    """A command's heading, usage, help and table of what it takes."""
    command, path = context.command, context.command_path
    lines = [f"{'#' * len(path.split())} {path}", _plain(inspect.cleandoc(command.help or ""))]
    if isinstance(command, click.Group):
        return lines
    words = " ".join(command.collect_usage_pieces(context))
    rows = [_parameter(one, context) for one in command.params if not getattr(one, "hidden", False)]
    table = [_table(("name", "default", "meaning"), rows)] if rows else []
    return [*lines, f"```text\n{path} {words}\n```", *table]


def _parameter(one: click.Parameter, context: click.Context) -> tuple[str, str, str]:
    names = [*one.opts, *one.secondary_opts] if isinstance(one, click.Option) else [one.make_metavar(context)]
    flag = isinstance(one, click.Argument) or getattr(one, "is_flag", False)
    shown = ", ".join(names) + ("" if flag else f" {one.make_metavar(context)}")
    default = one.get_default(context, call=False)
    told = "required" if one.required else "" if callable(default) else _default(default)
    return _code(shown), told, _plain(getattr(one, "help", "") or "")


def _default(value: Any) -> str:
    if value is None or value is False or value == () or type(value).__name__ == "Sentinel":
        return ""
    return _code(str(getattr(value, "value", value)))


def extensions() -> str:
    """The kinds of extensions, their names, and the docstrings of what one is made of."""
    lines = [
        "# Extension points",
        "What packages of others may add, by entry points. [Extend it](../extend.md) works an example of "
        "each; this page has the docstrings. Other modules are no interface: they may change.",
    ]
    kinds = [one for one in vars(registries).values() if isinstance(one, Registry)]
    for registry in kinds:
        names = ", ".join(f"`{name}`" for name in registry if registry.is_ours(name))
        lines += [f"## {registry.kind}", f"Entry-point group `{registry.group}`. Ours: {names}."]
        for place in EXTENSION_POINTS[registry.kind]:
            module, _, name = place.partition(":")
            lines += _object(name, getattr(import_module(module), name), module, 3)
    return "\n\n".join(lines) + "\n"


def _object(name: str, found: Any, module: str, level: int) -> list[str]:
    """An object's heading, signature and docstring, and those of a class's public methods."""
    lines = [
        f"{'#' * level} {name}",
        f"```python\n{_signature(name, found, module)}\n```",
        *_docstring(found),
    ]
    if inspect.isclass(found):
        for inner, method in vars(found).items():
            function = getattr(method, "__func__", method)
            if not inner.startswith("_") and inspect.isfunction(function) and function.__doc__:
                lines += _object(f"{name}.{inner}", function, "", level + 1)
    return lines


def _signature(name: str, found: Any, module: str) -> str:
    """The import and the call, with a line for each parameter where one line does not hold them."""
    signature = inspect.signature(found)
    listed: list[str] = []
    keywords_only = False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keywords_only:
            listed.append("*")
            keywords_only = True
        plain = str(one.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty))
        default = "" if one.default is one.empty else f" = {one.default!r}"
        listed.append(plain + _annotated(one.annotation, ": ") + default)
    written = ", ".join(listed)
    if len(name + written) > 80:
        written = "\n    " + ",\n    ".join(listed) + ",\n"
    returned = "" if inspect.isclass(found) else _annotated(signature.return_annotation, " -> ")
    imported = f"from {module} import {name}\n\n" if module else ""
    return f"{imported}{name.rpartition('.')[2]}({written}){returned}"


def _annotated(annotation: Any, sign: str) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return sign + (annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


def _docstring(found: Any) -> list[str]:
    """A Google-style docstring as Markdown: sections as bold words, arguments as lists, examples as code."""
    blocks: list[tuple[str, list[str]]] = [("", [])]
    for line in (inspect.getdoc(found) or "").splitlines():
        match = SECTION.match(line)
        if match:
            blocks.append((match[1], [match[2]] if match[2] else []))
        else:
            blocks[-1][1].append(line)
    return [
        text for title, lines in blocks if (text := _block(title, inspect.cleandoc("\n".join(["", *lines]))))
    ]


def _block(title: str, text: str) -> str:
    if not title:
        return _plain(text.replace("::\n", ":\n"))
    if title == "Example":
        return f"**Example**\n\n```python\n{text}\n```"
    if title in ("Args", "Raises", "Attributes"):
        items = re.findall(r"^(\*{0,2}\w+(?:, \w+)*): ?(.*(?:\n(?:[ ]+.*|$))*)", text, re.MULTILINE)
        if items:
            listed = "\n".join(f"- `{name}`: {_plain(' '.join(meaning.split()))}" for name, meaning in items)
            return f"**{title}**\n\n{listed}"
    return f"**{title}** {_plain(text)}"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _code(text: str) -> str:
    """Text as code, also in a table."""
    return f"`{text.replace('|', chr(92) + '|')}`" if text else ""


def _plain(text: str) -> str:
    """Text with its code as it is, and nothing else in it that Markdown takes for a sign of its own."""
    parts = re.split(r"(`+[^`]*`+)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>|\[\]])", r"\\\1", part) for part in parts
    )
