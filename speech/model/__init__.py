"""The CTC transformer: presets, layers, loss, device and precision, model files."""
