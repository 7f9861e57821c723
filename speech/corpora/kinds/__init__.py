"""Kinds of corpora: one module each, with a function `load(path, rules) -> Corpus` (`base.registries`)."""
