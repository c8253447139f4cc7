"""Plans: steps in numbers, read from what an agent or a person wrote."""
