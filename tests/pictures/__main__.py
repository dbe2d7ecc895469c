"""Draw dashboards: `python -m tests.pictures FILE.json … --store LAB.json --out FOLDER --width 1366 --var psu=psu1`.

For each file and width a picture, and a JSON file with what a user reads in each panel.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from .chromium import Failed, NotThere
from .drawing import Drawing


def main() -> int:
    """0 if all could be drawn; 1 if not, 2 if something is missing here."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description="Draw dashboards from live data.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a dashboard as JSON")
    parser.add_argument("--store", type=Path, required=True, help="JSON file with url, token and database of the store")
    parser.add_argument("--out", type=Path, default=Path(), help="where pictures go")
    parser.add_argument("--width", type=int, nargs="+", default=[1600], help="of the window, in pixels")
    parser.add_argument(
        "--var", action="append", default=[], metavar="NAME=VALUE", help="a variable; again for several values"
    )
    parser.add_argument("--from", dest="start", help="the range; without it the dashboard's")
    parser.add_argument("--to", dest="end")
    parser.add_argument("--menu", action="store_true", help="with Grafana's menu at the left, which takes 300 pixels")
    parser.add_argument(
        "--shuffled", action="store_true", help="tag columns in another order each time, as Grafana gives them"
    )
    parser.add_argument("--suffix", default="", help="of the files' names")
    options = parser.parse_args()
    variables: dict[str, list[str]] = {}
    for pair in options.var:
        name, _, value = pair.partition("=")
        variables.setdefault(name, []).append(value)
    options.out.mkdir(parents=True, exist_ok=True)
    status = 0
    try:
        with Drawing(json.loads(options.store.read_text())) as drawing:
            for file in options.files:
                for width in options.width:
                    start = time.monotonic()
                    path = options.out / f"{file.stem}{options.suffix}-{width}.png"
                    told = drawing.draw(
                        json.loads(file.read_text()),
                        width=width,
                        picture=path,
                        variables=variables,
                        start=options.start,
                        end=options.end,
                        menu=options.menu,
                        shuffled=options.shuffled,
                    )
                    path.with_suffix(".json").write_text(json.dumps(told, indent=1, ensure_ascii=False))
                    slowest = max(told["queries"], key=lambda query: query["milliseconds"], default={"milliseconds": 0})
                    print(f"{path}: {time.monotonic() - start:.1f} s; slowest query {slowest['milliseconds']} ms")
                    for panel in told["panels"]:
                        if "error" in panel:
                            status = 1
                            print(f"  {panel['title']}: {panel['error']}")
                        if panel["below"] > 4:
                            print(f"  {panel['title']}: {panel['below']} pixels are seen after scrolling")
                        for text in panel["cut"]:
                            print(f"  {panel['title']}: cut off: {text}")
    except NotThere as error:
        print(error, file=sys.stderr)
        return 2
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
