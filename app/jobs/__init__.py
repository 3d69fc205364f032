"""Running jobs: worker processes here, or elsewhere through a Dask scheduler. The jobs table is the truth."""
