"""A job on a Dask cluster: `client` plans, submits and commits; `parcel` is what travels; `remote` works there."""
