"""Widgets of the app: each shows what it is given and says in past-tense messages what was done to it; and the painter
that draws their pictures."""
