"""Why a hit was recommended."""
