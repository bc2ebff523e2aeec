"""Count the lines of each part of release notes: `python count.py NOTES.md`."""

import sys
from collections import Counter
from pathlib import Path

counts: Counter[str] = Counter()
part = "before the first part"
for line in Path(sys.argv[1]).read_text("utf-8").splitlines():
    if line.startswith("#"):
        part = line.lstrip("# ")
    elif line.strip():
        counts[part] += 1
for name, count in counts.items():
    print(f"{count:>4}  {name}")
