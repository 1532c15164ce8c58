"""What an operator may ask: four-letter words and their figures."""
