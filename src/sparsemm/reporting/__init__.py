"""Tables, figures and the HTML page, made from result files alone, without torch."""
