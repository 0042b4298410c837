"""`make bench`: every benchmark of the project, one table each; name some to run only those.

Options after the names go to each of them: `python -m benchmarks api_server --large`.
"""

from __future__ import annotations

import importlib
import pkgutil
import platform
import sys
from pathlib import Path


def main() -> int:
    names = sorted(entry.name for entry in pkgutil.iter_modules([str(Path(__file__).parent)]) if entry.name[0] != "_")
    arguments = sys.argv[1:]
    first_option = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    chosen, options = arguments[:first_option] or names, arguments[first_option:]
    unknown = [name for name in chosen if name not in names]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
        return 1
    print(f"{platform.platform()}, Python {platform.python_version()}, {_processor()}")
    for name in chosen:
        print(f"\n## {name}\n", flush=True)
        sys.argv = [name, *options]
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
