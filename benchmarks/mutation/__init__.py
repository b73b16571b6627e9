"""What benchmarks/mutants.py is made of: mutants, where they are tried, and what is known of them."""
