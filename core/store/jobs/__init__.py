"""Jobs as folders of the store: what each is to do, how far it is, what it says, whose turn it is."""
