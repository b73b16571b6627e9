"""N-gram language models for LlamaForge: the backend ``ngram`` and the command ``llamaforge train-ngram``."""
