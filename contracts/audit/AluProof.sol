// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Alu} from "../src/Alu.sol";

/// @title Alu.sol for all inputs, by symbolic execution
/// @notice Each `check_` states an operation's definition (vm/SPEC.md) on integers, which 256 bits hold without
///         overflow, and halmos runs it on unknown x and y: not only must no assertion fail, no path may panic.
contract AluProof {
    int256 private constant TWO64 = 1 << 64;
    uint64 private constant MIN = 1 << 63; // -2^63
    uint64 private constant ONES = type(uint64).max; // -1

    // ------------------------------------------------------------------------------------- numbers of registers

    /// @dev The register as a signed number.
    function s(uint64 x) private pure returns (int256) {
        return x < 1 << 63 ? int256(uint256(x)) : int256(uint256(x)) - TWO64;
    }

    function u(uint64 x) private pure returns (int256) {
        return int256(uint256(x));
    }

    /// @dev The low 32 bits as a signed number.
    function sw(uint64 x) private pure returns (int256) {
        int256 low = int256(uint256(x & 0xffffffff));
        return low < 1 << 31 ? low : low - (1 << 32);
    }

    /// @dev The low 32 bits as an unsigned number.
    function uw(uint64 x) private pure returns (int256) {
        return int256(uint256(x & 0xffffffff));
    }

    /// @dev The number modulo 2^64, as a register.
    function wrap(int256 value) private pure returns (uint64) {
        return uint64(uint256(value) & uint256(uint64(ONES)));
    }

    /// @dev The number modulo 2^32, sign-extended, as a register.
    function wrapWord(int256 value) private pure returns (uint64) {
        uint256 low = uint256(value) & 0xffffffff;
        return low < 1 << 31 ? uint64(low) : uint64(low) | 0xffffffff00000000;
    }

    /// @dev The product of two numbers below 2^64 in size, which 256 bits hold: the solver need not look for overflow.
    function product(int256 a, int256 b) private pure returns (int256) {
        unchecked {
            return a * b;
        }
    }

    /// @dev floor(value / 2^bits), one bit at a time.
    function halve(int256 value, uint256 bits) private pure returns (int256) {
        for (uint256 step = 1; step < 64; step *= 2) {
            if (bits & step != 0) value = value >> step;
        }
        return value;
    }

    /// @dev value * 2^bits, one bit at a time.
    function twice(int256 value, uint256 bits) private pure returns (int256) {
        for (uint256 step = 1; step < 64; step *= 2) {
            if (bits & step != 0) value = value << step;
        }
        return value;
    }

    // -------------------------------------------------------------------------------------------------- checks

    function check_signExtend(uint64 x) external pure {
        assert(Alu.signExtend(x, 8) == wrap(int256(int8(uint8(x)))));
        assert(Alu.signExtend(x, 16) == wrap(int256(int16(uint16(x)))));
        assert(Alu.signExtend(x, 64) == x);
        assert(Alu.sext32(x) == wrap(sw(x)));
    }

    function check_signed(uint64 x) external pure {
        assert(s(x) == int64(x)); // the two ways to say it here: `mulh` needs the second
    }

    function check_add(uint64 x, uint64 y) external pure {
        assert(Alu.add(x, y) == wrap(u(x) + u(y)));
        assert(Alu.add(x, y) == wrap(s(x) + s(y)));
    }

    function check_sub(uint64 x, uint64 y) external pure {
        assert(Alu.sub(x, y) == wrap(u(x) - u(y)));
        assert(Alu.sub(x, y) == wrap(s(x) - s(y)));
    }

    function check_sll(uint64 x, uint64 y) external pure {
        assert(Alu.sll(x, y) == wrap(twice(u(x), y & 63)));
    }

    function check_srl(uint64 x, uint64 y) external pure {
        assert(Alu.srl(x, y) == wrap(halve(u(x), y & 63)));
    }

    function check_sra(uint64 x, uint64 y) external pure {
        assert(Alu.sra(x, y) == wrap(halve(s(x), y & 63)));
    }

    function check_slt(uint64 x, uint64 y) external pure {
        assert(Alu.slt(x, y) == (s(x) < s(y) ? 1 : 0));
        assert(Alu.sltu(x, y) == (u(x) < u(y) ? 1 : 0));
    }

    function check_bitwise(uint64 x, uint64 y, uint8 bit) external pure {
        bit &= 63;
        bool a = x >> bit & 1 == 1;
        bool b = y >> bit & 1 == 1;
        assert((Alu.xor(x, y) >> bit & 1 == 1) == (a != b));
        assert((Alu.or(x, y) >> bit & 1 == 1) == (a || b));
        assert((Alu.and(x, y) >> bit & 1 == 1) == (a && b));
    }

    function check_addw(uint64 x, uint64 y) external pure {
        assert(Alu.addw(x, y) == wrapWord(sw(x) + sw(y)));
    }

    function check_subw(uint64 x, uint64 y) external pure {
        assert(Alu.subw(x, y) == wrapWord(sw(x) - sw(y)));
    }

    function check_sllw(uint64 x, uint64 y) external pure {
        assert(Alu.sllw(x, y) == wrapWord(twice(uw(x), y & 31)));
    }

    function check_srlw(uint64 x, uint64 y) external pure {
        assert(Alu.srlw(x, y) == wrapWord(halve(uw(x), y & 31)));
    }

    function check_sraw(uint64 x, uint64 y) external pure {
        assert(Alu.sraw(x, y) == wrapWord(halve(sw(x), y & 31)));
    }

    function check_mul(uint64 x, uint64 y) external pure {
        assert(Alu.mul(x, y) == wrap(product(u(x), u(y))));
    }

    function check_mulh(uint64 x, uint64 y) external pure {
        assert(Alu.mulh(x, y) == wrap(product(int64(x), int64(y)) >> 64));
    }

    function check_mulhsu(uint64 x, uint64 y) external pure {
        assert(Alu.mulhsu(x, y) == wrap(product(s(x), u(y)) >> 64));
    }

    function check_mulhu(uint64 x, uint64 y) external pure {
        assert(Alu.mulhu(x, y) == wrap(product(u(x), u(y)) >> 64));
    }

    function check_mulw(uint64 x, uint64 y) external pure {
        assert(Alu.mulw(x, y) == wrapWord(product(u(x), u(y))));
    }

    function check_div(uint64 x, uint64 y) external pure {
        if (y == 0) assert(Alu.div(x, y) == ONES);
        else if (x == MIN && y == ONES) assert(Alu.div(x, y) == MIN);
        else assert(Alu.div(x, y) == wrap(s(x) / s(y)));
    }

    function check_divu(uint64 x, uint64 y) external pure {
        assert(Alu.divu(x, y) == (y == 0 ? ONES : uint64(uint256(x) / y)));
    }

    function check_rem(uint64 x, uint64 y) external pure {
        if (y == 0) assert(Alu.rem(x, y) == x);
        else if (x == MIN && y == ONES) assert(Alu.rem(x, y) == 0);
        else assert(Alu.rem(x, y) == wrap(s(x) % s(y)));
    }

    function check_remu(uint64 x, uint64 y) external pure {
        assert(Alu.remu(x, y) == (y == 0 ? x : uint64(uint256(x) % y)));
    }

    function check_divw(uint64 x, uint64 y) external pure {
        if (sw(y) == 0) assert(Alu.divw(x, y) == ONES);
        else assert(Alu.divw(x, y) == wrapWord(sw(x) / sw(y)));
    }

    function check_divuw(uint64 x, uint64 y) external pure {
        assert(Alu.divuw(x, y) == (uw(y) == 0 ? ONES : wrapWord(uw(x) / uw(y))));
    }

    function check_remw(uint64 x, uint64 y) external pure {
        assert(Alu.remw(x, y) == wrapWord(sw(y) == 0 ? sw(x) : sw(x) % sw(y)));
    }

    function check_remuw(uint64 x, uint64 y) external pure {
        assert(Alu.remuw(x, y) == wrapWord(uw(y) == 0 ? uw(x) : uw(x) % uw(y)));
    }
}
