"""The tests, in the folders of the code they are about; helpers are in `tests.support`."""
