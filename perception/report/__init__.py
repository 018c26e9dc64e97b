"""HTML pages and overlays."""
