"""Writes the generated tables of README.md: gas, sizes, storage, addresses (`--check` only compares).

python contracts/tables.py [--check]

They come from the compiler (what `node build.mjs --report DIR` writes), gas.json and opml.chain. A table is what lies
between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from opml.chain.accounts import dev_accounts  # noqa: E402
from opml.chain.deploy import create_address  # noqa: E402

README = ROOT / "contracts" / "README.md"
GAS = ROOT / "contracts" / "gas.json"
CODE_LIMIT = 24_576  # EIP-170
PUBLISHED = ("Opml", "StepVerifier", "InferenceMarket")
# Of the calls in a table; others follow.
ORDER = ("claim", "claimByRoot", "challenge", "open", "choose", "post", "enter", "step", "timeout", "withdraw")
DEVNET = ("StepVerifier", "Opml", "InferenceMarket")  # in the order of their deployment

Report = dict[str, dict[str, Any]]


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers if they look like it."""
    numbers = [all(re.fullmatch(r"[\d,]*", row[i]) for row in rows) for i in range(len(head))]
    line = ["---:" if number else "---" for number in numbers]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, line, *rows])


def sizes(report: Report) -> str:
    """Deployed code of each contract, and what the limit of EIP-170 leaves."""
    found = [(name, report[name]["deployedBytecodeSize"]) for name in PUBLISHED]
    rows = [[f"`{name}`", f"{size:,}", f"{CODE_LIMIT - size:,}"] for name, size in found]
    return table(["contract", "bytes of code", f"below {CODE_LIMIT:,} by"], rows)


def scenes() -> dict[str, dict[str, int]]:
    """The claims and disputes of gas.json."""
    return {name: scene for name, scene in json.loads(GAS.read_text()).items() if "total" in scene}


def disputes(_: Report) -> str:
    """Of each scene the number of its transactions and their gas, both sides together."""
    rows = [[name, str(scene["transactions"]), f"{scene['total']:,}"] for name, scene in scenes().items()]
    return table(["from the claim to the last withdrawal", "transactions", "gas"], rows)


def gas(_: Report) -> str:
    """Of each call the least and the most gas over all scenes, of which each brings its dearest of the kind."""
    calls: dict[str, list[int]] = {}
    for scene in scenes().values():
        for name, figure in scene.items():
            calls.setdefault(name, []).append(figure)
    names = [name for name in (*ORDER, *calls) if name in calls and name not in ("transactions", "total")]
    rows = [[f"`{name}`", f"{min(calls[name]):,}", f"{max(calls[name]):,}"] for name in dict.fromkeys(names)]
    return table(["call", "least", "most"], rows)


def steps(_: Report) -> str:
    """A transaction that calls the verifier alone, for each instruction kept."""
    found = json.loads(GAS.read_text())
    rows = [[f"`{name}`", f"{figure:,}"] for name, figure in found["StepVerifier.step"].items()]
    longest = max(found["StepVerifier.step, longest witness"].values())
    return table(["instruction", "gas"], [*rows, ["the longest witness there is", f"{longest:,}"]])


def storage(report: Report) -> str:
    """Where each contract keeps what: slots, and for each struct in a mapping the place of each field."""
    parts = []
    for name in (*PUBLISHED, "Layout"):
        layout = report[name]["storageLayout"]
        if name != "Layout" and layout["storage"]:
            parts.append(f"`{name}`:\n\n" + places("variable", layout["storage"], layout["types"]))
        for kind in structs(layout):
            size = int(kind["numberOfBytes"]) // 32
            title = f"`{kind['label']}`, {size} slot{'s' if size > 1 else ''}:\n\n"
            parts.append(title + places("field", kind["members"], layout["types"]))
    return "\n".join(parts)


def places(what: str, items: list[dict[str, Any]], types: dict[str, Any]) -> str:
    """The table of some variables or fields."""
    rows = [[f"`{i['label']}`", i["slot"], str(i["offset"]), f"`{types[i['type']]['label']}`"] for i in items]
    return table([what, "slot", "byte", "type"], rows)


def structs(layout: dict[str, Any]) -> list[dict[str, Any]]:
    """The structs that a contract stores, in the order in which its variables name them."""
    found: dict[str, dict[str, Any]] = {}

    def visit(key: str) -> None:
        kind = layout["types"][key]
        if "members" in kind and key not in found:
            found[key] = kind
            for member in kind["members"]:
                visit(member["type"])
        for inner in ("value", "base"):
            if inner in kind:
                visit(kind[inner])

    for variable in layout["storage"]:
        visit(variable["type"])
    return list(found.values())


def addresses(_: Report) -> str:
    """Where `opml devnet` has the contracts: made by the last development account, in this order."""
    deployer = dev_accounts()[-1].address
    rows = [[f"`{name}`", f"`{create_address(deployer, nonce)}`"] for nonce, name in enumerate(DEVNET)]
    return table(["contract", "address"], [*rows, ["made by", f"`{deployer}`"]])


TABLES = {"sizes": sizes, "disputes": disputes, "gas": gas, "steps": steps, "storage": storage, "addresses": addresses}


def report() -> Report:
    """What the compiler knows of each contract."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["node", "build.mjs", "--report", folder]
        subprocess.run(command, cwd=ROOT / "contracts", check=True, stdout=subprocess.DEVNULL)
        return {file.stem: json.loads(file.read_text()) for file in Path(folder).glob("*.json")}


def render(text: str, found: Report) -> str:
    """The page with its tables as they are now. Raises ValueError where one has no place on it."""
    for name, make in TABLES.items():
        place = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(place.findall(text)) != 1:
            raise ValueError(f"contracts/README.md must have one `<!-- generated: {name} -->` with its `<!-- end -->`")
        body = f"\n{make(found)}\n"
        text = place.sub(lambda match, body=body: match[1] + body + match[2], text)
    return text


def main() -> int:
    """Writes the page, or with `--check` exits with 1 if it differs."""
    before = README.read_text()
    after = render(before, report())
    if "--check" in sys.argv[1:]:
        if before != after:
            print("the tables of contracts/README.md are stale: run python contracts/tables.py", file=sys.stderr)
            return 1
        return 0
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
