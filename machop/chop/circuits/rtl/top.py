"""The top module: ports that hold whole tensors with one width for all elements, around alkaid's packed logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chop.circuits.rtl.words import Word


@dataclass(frozen=True)
class Lane:
    """The bits `[start, start + bits)` of the logic's own port: `element` of a tensor, with as few bits as it needs.

    `integers` bits before the point (sign apart) and `frac` behind it.
    """

    word: Word
    element: int
    start: int
    signed: int
    integers: int
    frac: int

    @property
    def bits(self) -> int:
        """Bits that the element takes in the logic; 0 where it plays no part."""
        return self.signed + self.integers + self.frac

    @property
    def finer(self) -> int:
        """Bits by which the word's step is finer than this one's; below 0 where it is coarser."""
        return self.word.frac - self.frac


@dataclass(frozen=True)
class Top:
    """A top module `name` around `core`: which bits of the ports are lanes of the logic."""

    name: str
    core: str
    inputs: tuple[Word, ...]
    output: Word
    read: Sequence[Lane]
    results: Sequence[Lane | int]
    clocked: bool

    @property
    def read_bits(self) -> int:
        """Bits of the logic's input."""
        return max(sum(lane.bits for lane in self.read), 1)

    @property
    def written_bits(self) -> int:
        """Bits of the logic's output."""
        return max(sum(own.bits for own in self.results if isinstance(own, Lane)), 1)


@dataclass(frozen=True)
class Piece:
    """Bits `[low, low + bits)` of a result: bits of the logic from `start` on, one bit of it repeated, or `code`."""

    low: int
    bits: int
    start: int | None = None
    repeats: bool = False
    code: int = 0


def pieces(word: Word, element: int, own: Lane | int) -> list[Piece]:
    """An element of the output, from its lowest bit on: zeros, the logic's bits, and the sign once more.

    >>> word = Word("y", "y", (2,), 6, 3, True)
    >>> [(own.low, own.bits, own.start) for own in pieces(word, 1, Lane(word, 1, 9, 1, 2, 1))]
    [(6, 2, None), (8, 4, 9)]
    """
    first = element * word.bits
    if isinstance(own, int):
        return [Piece(first, word.bits, code=own & ((1 << word.bits) - 1))]
    zeros = min(max(own.finer, 0), word.bits) if own.bits else word.bits
    start = own.start + max(-own.finer, 0)
    taken = max(min(own.start + own.bits - start, word.bits - zeros), 0)
    above = word.bits - zeros - taken
    found = [Piece(first, zeros), Piece(first + zeros, taken, start)]
    sign = Piece(first + zeros + taken, above, own.start + own.bits - 1, repeats=True)
    found.append(sign if own.signed else Piece(sign.low, above))
    return [piece for piece in found if piece.bits]


def verilog_top(top: Top) -> str:
    """The top module in Verilog."""
    clock, link = ("    input clk,\n", ".clk(clk), ") if top.clocked else ("", "")
    ports = "".join(f"    input [{word.width - 1}:0] {word.name},\n" for word in top.inputs)
    lines = [f"assign model_inp[{own}] = {name}[{given}];" for own, name, given in _reads(top, ":")]
    for piece in _results(top):
        if piece.start is None:
            value = f"{piece.bits}'h{piece.code:x}"
        elif piece.repeats:
            value = f"{{{piece.bits}{{model_out[{piece.start}]}}}}"
        else:
            value = f"model_out[{piece.start + piece.bits - 1}:{piece.start}]"
        lines.append(f"assign {top.output.name}[{piece.low + piece.bits - 1}:{piece.low}] = {value};")
    body = "\n    ".join(lines)
    return f"""`timescale 1ns / 1ps

module {top.name} (
{clock}{ports}    output [{top.output.width - 1}:0] {top.output.name}
);
    wire [{top.read_bits - 1}:0] model_inp;
    wire [{top.written_bits - 1}:0] model_out;

    {body}

    {top.core} core ({link}.model_inp(model_inp), .model_out(model_out));
endmodule
"""


def vhdl_top(top: Top) -> str:
    """The top module in VHDL."""
    clock, link = ("    clk: in std_logic;\n", "clk => clk, ") if top.clocked else ("", "")
    ports = "".join(f"    {word.name}: in std_logic_vector({word.width - 1} downto 0);\n" for word in top.inputs)
    lines = [f"model_inp({own}) <= {name}({given});" for own, name, given in _reads(top, " downto ")]
    for piece in _results(top):
        if piece.start is None:
            value = f'"{piece.code:0{piece.bits}b}"'
        elif piece.repeats:
            value = f"(others => model_out({piece.start}))"
        else:
            value = f"model_out({piece.start + piece.bits - 1} downto {piece.start})"
        lines.append(f"{top.output.name}({piece.low + piece.bits - 1} downto {piece.low}) <= {value};")
    body = "\n    ".join(lines)
    return f"""library ieee;
use ieee.std_logic_1164.all;

entity {top.name} is port(
{clock}{ports}    {top.output.name}: out std_logic_vector({top.output.width - 1} downto 0)
);
end entity {top.name};

architecture rtl of {top.name} is
    signal model_inp: std_logic_vector({top.read_bits - 1} downto 0);
    signal model_out: std_logic_vector({top.written_bits - 1} downto 0);
begin
    {body}

    core: entity work.{top.core} port map({link}model_inp => model_inp, model_out => model_out);
end architecture rtl;
"""


def _reads(top: Top, to: str) -> list[tuple[str, str, str]]:
    """Bits of the logic's input, the port that they come from, and its bits."""
    found = []
    for lane in top.read:
        if lane.bits:
            low = lane.element * lane.word.bits + lane.finer
            own = f"{lane.start + lane.bits - 1}{to}{lane.start}"
            found.append((own, lane.word.name, f"{low + lane.bits - 1}{to}{low}"))
    return found


def _results(top: Top) -> list[Piece]:
    return [piece for element, own in enumerate(top.results) for piece in pieces(top.output, element, own)]
