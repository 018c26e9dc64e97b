"""A trained model over HTTP, and one page to try it on."""
