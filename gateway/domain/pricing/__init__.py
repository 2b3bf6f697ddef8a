"""What models cost: prices by effective date, the rating of what was used, and the currencies they are told in."""
