"""Look for input that breaks something.

    python -m tests.fuzz parser --seconds 3600     under libFuzzer: it follows what the input reaches
    python -m tests.fuzz engine --seconds 3600     servers under AddressSanitizer, random streams in random pieces

What is found is put into build/fuzz-findings, but what --planted finds; kept as a test it goes to tests/fuzz/cases.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=["parser", "engine"])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="inputs to begin with; the parser's fuzzer adds what it finds new")
    parser.add_argument("--seed", type=int, help="the engine's first seed; without it a new one every time")
    parser.add_argument(
        "--planted", action="store_true", help="put a bug into the parser; the status is 0 if it is found"
    )
    options = parser.parse_args()
    if options.target == "parser":
        from tests.fuzz import parser as chosen

        if options.planted:
            return chosen.find_planted(options.seconds)
        return chosen.run(options.seconds, options.corpus)
    from tests.fuzz import engine

    return engine.run(options.seconds, options.corpus, options.seed)


if __name__ == "__main__":
    sys.exit(main())
