"""Code that every room may use: registries, typed settings, durable files, printable text, the release."""
