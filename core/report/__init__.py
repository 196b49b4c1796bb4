"""Everything that is stored of a model, as one folder: figures, tables and a site that opens from disk.

Reads through the store and `analysis` only and computes no FZ. matplotlib and jinja2 are imported by the modules
that draw, so nothing else pays for them. Never imports torch.
"""
