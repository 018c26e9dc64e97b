"""From an image and a trained run to a `Prediction`."""
