"""Converting and auditing annotations: Frames in, Frames and reports out."""
