"""Tables, figures and the page, from result files alone. No torch."""
