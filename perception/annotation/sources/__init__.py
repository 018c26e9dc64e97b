"""One module per format that frames are read from."""
