"""The nouns that mesh replicates: their rows, commands, queries and rules."""
