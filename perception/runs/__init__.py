"""What a trained run tells: `evaluation.json` and the page `report.html` in its folder."""
