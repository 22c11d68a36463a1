"""``python -m medldm``: the program where its script is not on the path."""

from medldm.cli.app import main

if __name__ == "__main__":
    main()
