"""The web application that answers phone calls."""
