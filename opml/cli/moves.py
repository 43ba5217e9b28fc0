"""How a game looks while it is played: a line per move, in words."""

from opml.dispute.game import GameView, Phase
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.image import Image


def describe(image: Image, view: GameView, move: Move) -> str:
    """What a move says, given the game as it was before it."""
    unit = "tile" if view.phase is Phase.TILE else "instruction"
    place = f"{unit}s {view.position:,} to {view.position + view.length:,}"
    match move:
        case Open():
            return f"commits to the whole run, and to {len(move.states)} roots within it"
        case Post():
            states = "state" if len(move.states) == 1 else "states"
            return f"posts {len(move.states)} {unit} {states} of {place}"
        case Choose():
            return f"disputes segment {move.segment + 1} of {len(view.states) + 1} of {place}"
        case Enter():
            where = operator_of(image, view.tile)
            return f"enters tile {view.tile} ({where}): {move.steps:,} instructions, {len(move.states)} states posted"
        case Step():
            return f"has the chain execute instruction {view.position:,} of tile {view.tile}"
        case Timeout():
            return "ends the game: the other side's clock has run out"


def operator_of(image: Image, unit: int) -> str:
    """The operator that a unit of the tile phase belongs to, with the output it writes."""
    if image.header.one_phase:
        return "the whole program"
    node = image.program.node_of_tile(unit)
    iteration, leaf = image.program.place_of_tile(unit)
    where = f" of iteration {iteration}" if image.program.repeat else ""
    return f"{node.op} → {node.output}{where}, leaf {leaf}"
