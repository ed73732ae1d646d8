"""A Jupyter-first workbench for medical-image research: published methods beside the rivals they claim to beat."""

__version__ = "0.1.0"
