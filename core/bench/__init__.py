"""Measures streamscope on this machine: speed and quality against torch-lucent, and where the time goes."""
