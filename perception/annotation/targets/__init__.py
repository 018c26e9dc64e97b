"""One module per format that frames are written in."""
