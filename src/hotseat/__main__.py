"""`python -m hotseat` is the command `hotseat`."""

from hotseat.cli.main import main

if __name__ == "__main__":
    main()
