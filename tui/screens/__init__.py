"""Screens of the app and its dialogs."""
