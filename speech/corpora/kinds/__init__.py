"""The kinds of corpora: a module each, with a function `load(path, rules) -> Corpus` (`base.registries`)."""
