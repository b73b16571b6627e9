"""What the tests share: real models and real servers."""
