"""`python -m pi_v_jupyter`: the same as the command `pi-v-jupyter`."""

from pi_v_jupyter.cli import main

if __name__ == "__main__":
    main()
