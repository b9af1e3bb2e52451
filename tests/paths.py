"""Where the repository is, whatever test asks."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
