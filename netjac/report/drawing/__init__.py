"""The network as a picture: see `netjac.report.drawing.draw`."""
