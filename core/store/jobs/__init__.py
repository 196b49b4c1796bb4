"""Jobs as folders of the store: what is asked for, how far it is, whose turn it is."""
