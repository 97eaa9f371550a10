"""Geometry of charts that templates/charts/charts.html draws as SVG: across in percent of the width, so that text
keeps its size on a phone; up in pixels. Colours are classes. Each chart has a table of the same numbers beside it."""
