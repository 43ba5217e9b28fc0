// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The arithmetic of RV64IM, one function per operation
/// @notice Same names in the same order as vm/alu.py. A value is the 64 bits of a register; the `w` operations compute
///         on the low 32 and sign-extend. Every function is total: it wraps and masks shift amounts, and never reverts.
library Alu {
    function signExtend(uint256 x, uint256 bits) internal pure returns (uint64) {
        unchecked {
            uint256 unused = 256 - bits;
            return uint64(uint256(int256(x << unused) >> unused));
        }
    }

    function sext32(uint64 x) internal pure returns (uint64) {
        return signExtend(x, 32);
    }

    function add(uint64 x, uint64 y) internal pure returns (uint64) {
        unchecked {
            return x + y;
        }
    }

    function sub(uint64 x, uint64 y) internal pure returns (uint64) {
        unchecked {
            return x - y;
        }
    }

    function sll(uint64 x, uint64 y) internal pure returns (uint64) {
        return x << (y & 63);
    }

    function srl(uint64 x, uint64 y) internal pure returns (uint64) {
        return x >> (y & 63);
    }

    function sra(uint64 x, uint64 y) internal pure returns (uint64) {
        return uint64(int64(x) >> (y & 63));
    }

    function slt(uint64 x, uint64 y) internal pure returns (uint64) {
        return int64(x) < int64(y) ? 1 : 0;
    }

    function sltu(uint64 x, uint64 y) internal pure returns (uint64) {
        return x < y ? 1 : 0;
    }

    function xor(uint64 x, uint64 y) internal pure returns (uint64) {
        return x ^ y;
    }

    function or(uint64 x, uint64 y) internal pure returns (uint64) {
        return x | y;
    }

    function and(uint64 x, uint64 y) internal pure returns (uint64) {
        return x & y;
    }

    function addw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(add(x, y));
    }

    function subw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(sub(x, y));
    }

    function sllw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(x << (y & 31));
    }

    function srlw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(uint64(uint32(x)) >> (y & 31));
    }

    function sraw(uint64 x, uint64 y) internal pure returns (uint64) {
        return uint64(int64(sext32(x)) >> (y & 31));
    }

    function mul(uint64 x, uint64 y) internal pure returns (uint64) {
        unchecked {
            return x * y;
        }
    }

    /// @dev The product of two 64-bit numbers never overflows 256 bits.
    function mulh(uint64 x, uint64 y) internal pure returns (uint64) {
        unchecked {
            return uint64(uint256(int256(int64(x)) * int64(y) >> 64));
        }
    }

    function mulhsu(uint64 x, uint64 y) internal pure returns (uint64) {
        unchecked {
            return uint64(uint256(int256(int64(x)) * int256(uint256(y)) >> 64));
        }
    }

    function mulhu(uint64 x, uint64 y) internal pure returns (uint64) {
        unchecked {
            return uint64(uint256(x) * y >> 64);
        }
    }

    /// @dev In 256 bits, where -2^63 / -1 = 2^63 is a number; its low 64 bits are -2^63 again.
    function div(uint64 x, uint64 y) internal pure returns (uint64) {
        return y == 0 ? type(uint64).max : uint64(uint256(int256(int64(x)) / int64(y)));
    }

    function divu(uint64 x, uint64 y) internal pure returns (uint64) {
        return y == 0 ? type(uint64).max : x / y;
    }

    /// @dev The sign of x, as the EVM's SMOD has it.
    function rem(uint64 x, uint64 y) internal pure returns (uint64) {
        return y == 0 ? x : uint64(uint256(int256(int64(x)) % int64(y)));
    }

    function remu(uint64 x, uint64 y) internal pure returns (uint64) {
        return y == 0 ? x : x % y;
    }

    function mulw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(mul(x, y));
    }

    function divw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(div(sext32(x), sext32(y)));
    }

    function divuw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(divu(uint32(x), uint32(y)));
    }

    function remw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(rem(sext32(x), sext32(y)));
    }

    function remuw(uint64 x, uint64 y) internal pure returns (uint64) {
        return sext32(remu(uint32(x), uint32(y)));
    }
}
