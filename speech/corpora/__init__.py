"""What a corpus is, how one is loaded, built, written and described."""
