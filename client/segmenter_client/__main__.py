"""The command line where its console command is not on the path: `python -m segmenter_client`."""

from segmenter_client.cli.program import run

if __name__ == "__main__":
    run()
