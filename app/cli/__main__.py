"""`python -m app.cli` is `tradespace`."""

from app.cli.program import main

if __name__ == "__main__":
    main()
