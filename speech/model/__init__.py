"""The CTC transformer: layers, presets, loss, arithmetic, model files."""
