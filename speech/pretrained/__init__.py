"""Public pre-trained models in Hugging Face's layout, through `transformers`."""
