// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The arithmetic of RV64IM, one function per operation
/// @notice Same names and order as vm/alu.py. All functions are total: they wrap, mask their shift amounts and never
///         revert. A value is the register's 64 bits; the `w` operations compute on the low 32 and sign-extend.
library Alu {
    function sext(uint256 value, uint256 bits) internal pure returns (uint64) {
        unchecked {
            uint256 unused = 256 - bits;
            return uint64(uint256(int256(value << unused) >> unused));
        }
    }

    // ------------------------------------------------------------------------------------------ RV64I, 64 bits

    function add(uint64 a, uint64 b) internal pure returns (uint64) {
        unchecked {
            return a + b;
        }
    }

    function sub(uint64 a, uint64 b) internal pure returns (uint64) {
        unchecked {
            return a - b;
        }
    }

    function sll(uint64 a, uint64 b) internal pure returns (uint64) {
        return a << (b & 63);
    }

    function slt(uint64 a, uint64 b) internal pure returns (uint64) {
        return int64(a) < int64(b) ? 1 : 0;
    }

    function sltu(uint64 a, uint64 b) internal pure returns (uint64) {
        return a < b ? 1 : 0;
    }

    function srl(uint64 a, uint64 b) internal pure returns (uint64) {
        return a >> (b & 63);
    }

    function sra(uint64 a, uint64 b) internal pure returns (uint64) {
        return uint64(int64(a) >> (b & 63));
    }

    // ------------------------------------------------------------------------------------------ RV64I, 32 bits

    function addw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(add(a, b), 32);
    }

    function subw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(sub(a, b), 32);
    }

    function sllw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(uint32(a) << uint32(b & 31), 32);
    }

    function srlw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(uint32(a) >> uint32(b & 31), 32);
    }

    function sraw(uint64 a, uint64 b) internal pure returns (uint64) {
        return uint64(int64(int32(uint32(a)) >> (b & 31)));
    }

    // ------------------------------------------------------------------------------------------ M, 64 bits

    function mul(uint64 a, uint64 b) internal pure returns (uint64) {
        unchecked {
            return a * b;
        }
    }

    function mulh(uint64 a, uint64 b) internal pure returns (uint64) {
        return uint64(uint128(int128(int64(a)) * int64(b) >> 64));
    }

    function mulhsu(uint64 a, uint64 b) internal pure returns (uint64) {
        return uint64(uint256(int256(int64(a)) * int256(uint256(b)) >> 64));
    }

    function mulhu(uint64 a, uint64 b) internal pure returns (uint64) {
        return uint64(uint256(a) * b >> 64);
    }

    /// @dev By zero: all ones. The quotient 2^63 of the smallest number by -1 wraps to that number.
    function div(uint64 a, uint64 b) internal pure returns (uint64) {
        return b == 0 ? type(uint64).max : uint64(uint256(int256(int64(a)) / int64(b)));
    }

    function divu(uint64 a, uint64 b) internal pure returns (uint64) {
        return b == 0 ? type(uint64).max : a / b;
    }

    /// @dev By zero: the dividend. The sign is the dividend's, as EVM's SMOD has it.
    function rem(uint64 a, uint64 b) internal pure returns (uint64) {
        return b == 0 ? a : uint64(uint256(int256(int64(a)) % int64(b)));
    }

    function remu(uint64 a, uint64 b) internal pure returns (uint64) {
        return b == 0 ? a : a % b;
    }

    // ------------------------------------------------------------------------------------------ M, 32 bits

    function mulw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(mul(a, b), 32);
    }

    function divw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(div(sext(a, 32), sext(b, 32)), 32);
    }

    function divuw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(divu(uint32(a), uint32(b)), 32);
    }

    function remw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(rem(sext(a, 32), sext(b, 32)), 32);
    }

    function remuw(uint64 a, uint64 b) internal pure returns (uint64) {
        return sext(remu(uint32(a), uint32(b)), 32);
    }

    // ------------------------------------------------------------------------------------------ bytes

    /// @notice The number whose `size` (1, 2, 4 or 8) low bytes are those of `value` in reverse order, others 0.
    function reverse(uint64 value, uint256 size) internal pure returns (uint64) {
        value = (value & 0x00ff00ff00ff00ff) << 8 | (value >> 8) & 0x00ff00ff00ff00ff;
        value = (value & 0x0000ffff0000ffff) << 16 | (value >> 16) & 0x0000ffff0000ffff;
        value = value << 32 | value >> 32;
        unchecked {
            return value >> (64 - 8 * size);
        }
    }
}
