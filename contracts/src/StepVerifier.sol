// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Alu} from "./Alu.sol";
import {HALTED, LEAF_BYTES, LEAF_LOG2, MEMORY_BYTES, REG_A7, RUNNING, STATE_BYTES, SYSCALL_EXIT, TRAPPED}
    from "./Constants.sol";
import {IStepVerifier} from "./IStepVerifier.sol";
import {MachineState} from "./MachineState.sol";
import {Proof} from "./Proof.sol";

/// @title One instruction of RV64IM over a witness
/// @notice To be read beside vm/step.py, of which it is a transcript: same cases in the same order. Each case says
///         whether the word is legal and what is written; whatever is not legal is a trap (I5), which changes the status
///         and nothing else.
contract StepVerifier is IStepVerifier {
    using MachineState for bytes;

    /// @inheritdoc IStepVerifier
    function step(bytes calldata witness) external pure override returns (bytes32 pre, bytes32 post) {
        if (witness.length < STATE_BYTES) revert MalformedWitness();
        bytes memory state = witness[:STATE_BYTES];
        bytes calldata rest = witness[STATE_BYTES:];
        if (state.status() > TRAPPED) revert MalformedWitness();
        pre = keccak256(state);
        if (state.status() == RUNNING) rest = _fetch(state, rest);
        if (rest.length != 0) revert MalformedWitness(); // I6
        post = keccak256(state);
    }

    function _fetch(bytes memory state, bytes calldata rest) private pure returns (bytes calldata) {
        uint64 pc = state.pc();
        if (pc % 4 != 0 || pc >= MEMORY_BYTES) {
            state.setStatus(TRAPPED);
            return rest;
        }
        (Proof.Leaf memory code, bytes calldata more) = _take(pc, rest);
        Proof.Leaf memory data;
        (data, more) = _execute(state, pc, uint32(_load(code.pre, pc, 4)), code, more);
        // Until here the leaves are the witness's word: whatever they made of the state, it is refused with them.
        bytes32 root;
        bytes32 newRoot;
        (root, newRoot, more) = Proof.roots(code, data, more);
        if (root != state.root()) revert MalformedWitness();
        state.setRoot(newRoot);
        return more;
    }

    /// @dev Executes `word`, the instruction at `pc` in the leaf `code`; gives back the leaf of its load or store, which
    ///      is `code` itself if there is none, and what is left of the witness. Internal so that a test can feed it all
    ///      words without a proof for each.
    function _execute(bytes memory state, uint64 pc, uint32 word, Proof.Leaf memory code, bytes calldata rest)
        internal
        pure
        returns (Proof.Leaf memory data, bytes calldata)
    {
        data = code;
        uint256 opcode = word & 0x7f;
        uint256 funct3 = word >> 12 & 7;
        uint64 x = state.register(word >> 15 & 31);
        uint64 y = state.register(word >> 20 & 31);
        uint64 next = Alu.add(pc, 4);
        bool legal = true;
        uint256 rd = word >> 7 & 31;
        uint64 value = 0;

        if (opcode == 0x37) {
            value = _immU(word); // LUI
        } else if (opcode == 0x17) {
            value = Alu.add(pc, _immU(word)); // AUIPC
        } else if (opcode == 0x6f) {
            value = next; // JAL
            next = Alu.add(pc, _immJ(word));
        } else if (opcode == 0x67) {
            legal = funct3 == 0; // JALR
            value = next;
            next = Alu.add(x, _immI(word)) & ~uint64(1);
        } else if (opcode == 0x63) {
            bool taken;
            (legal, taken) = _branch(funct3, x, y);
            if (taken) next = Alu.add(pc, _immB(word));
            rd = 0;
        } else if (opcode == 0x03) {
            legal = funct3 != 7;
            uint64 place = Alu.add(x, _immI(word));
            uint256 size = 1 << (funct3 & 3);
            legal = legal && place % size == 0 && place < MEMORY_BYTES;
            if (legal && place >> LEAF_LOG2 != code.index) (data, rest) = _take(place, rest);
            value = _load(data.pre, place, size);
            if (funct3 < 4) value = Alu.signExtend(value, 8 * size); // LB, LH, LW, LD; else LBU, LHU, LWU
        } else if (opcode == 0x23) {
            legal = funct3 < 4; // SB, SH, SW, SD
            uint64 place = Alu.add(x, _immS(word));
            uint256 size = 1 << (funct3 & 3);
            legal = legal && place % size == 0 && place < MEMORY_BYTES;
            if (legal && place >> LEAF_LOG2 != code.index) (data, rest) = _take(place, rest);
            if (legal) data.post = _store(data.pre, place, size, y);
            rd = 0;
        } else if (opcode == 0x13) {
            (legal, value) = _opImm(funct3, word >> 26, x, _immI(word));
        } else if (opcode == 0x1b) {
            (legal, value) = _opImm32(funct3, word >> 25, x, _immI(word));
        } else if (opcode == 0x33) {
            (legal, value) = _op(funct3, word >> 25, x, y);
        } else if (opcode == 0x3b) {
            (legal, value) = _op32(funct3, word >> 25, x, y);
        } else if (opcode == 0x0f) {
            legal = funct3 == 0; // FENCE: memory is in order
            rd = 0;
        } else if (word == 0x00000073 && state.register(REG_A7) == SYSCALL_EXIT) {
            state.setStatus(HALTED); // ECALL, the only one there is
            return (data, rest);
        } else {
            legal = false;
        }

        if (legal && next % 4 == 0) {
            state.setRegister(rd, value);
            state.setPc(next);
        } else {
            state.setStatus(TRAPPED);
        }
        return (data, rest);
    }

    // ------------------------------------------------------------------------------------------ operations

    function _branch(uint256 funct3, uint64 x, uint64 y) private pure returns (bool legal, bool taken) {
        legal = funct3 != 2 && funct3 != 3;
        if (funct3 == 0) taken = x == y; // BEQ
        else if (funct3 == 1) taken = x != y; // BNE
        else if (funct3 == 4) taken = Alu.slt(x, y) == 1; // BLT
        else if (funct3 == 5) taken = Alu.slt(x, y) == 0; // BGE
        else if (funct3 == 6) taken = Alu.sltu(x, y) == 1; // BLTU
        else if (funct3 == 7) taken = Alu.sltu(x, y) == 0; // BGEU
    }

    /// @param top the immediate's upper six bits: with shifts they must be 0, or 0x10 for SRAI
    function _opImm(uint256 funct3, uint256 top, uint64 x, uint64 imm) private pure returns (bool, uint64) {
        if (funct3 == 0) return (true, Alu.add(x, imm)); // ADDI
        if (funct3 == 1) return (top == 0, Alu.sll(x, imm)); // SLLI
        if (funct3 == 2) return (true, Alu.slt(x, imm)); // SLTI
        if (funct3 == 3) return (true, Alu.sltu(x, imm)); // SLTIU
        if (funct3 == 4) return (true, Alu.xor(x, imm)); // XORI
        if (funct3 == 5) return top == 0x10 ? (true, Alu.sra(x, imm)) : (top == 0, Alu.srl(x, imm)); // SRAI, SRLI
        if (funct3 == 6) return (true, Alu.or(x, imm)); // ORI
        return (true, Alu.and(x, imm)); // ANDI
    }

    /// @param top the immediate's upper seven bits: with shifts they must be 0, or 0x20 for SRAIW
    function _opImm32(uint256 funct3, uint256 top, uint64 x, uint64 imm) private pure returns (bool, uint64) {
        if (funct3 == 0) return (true, Alu.addw(x, imm)); // ADDIW
        if (funct3 == 1) return (top == 0, Alu.sllw(x, imm)); // SLLIW
        if (funct3 == 5) return top == 0x20 ? (true, Alu.sraw(x, imm)) : (top == 0, Alu.srlw(x, imm)); // SRAIW, SRLIW
        return (false, 0);
    }

    function _op(uint256 funct3, uint256 funct7, uint64 x, uint64 y) private pure returns (bool, uint64) {
        if (funct7 == 0x00) {
            if (funct3 == 0) return (true, Alu.add(x, y)); // ADD
            if (funct3 == 1) return (true, Alu.sll(x, y)); // SLL
            if (funct3 == 2) return (true, Alu.slt(x, y)); // SLT
            if (funct3 == 3) return (true, Alu.sltu(x, y)); // SLTU
            if (funct3 == 4) return (true, Alu.xor(x, y)); // XOR
            if (funct3 == 5) return (true, Alu.srl(x, y)); // SRL
            if (funct3 == 6) return (true, Alu.or(x, y)); // OR
            return (true, Alu.and(x, y)); // AND
        }
        if (funct7 == 0x20) {
            if (funct3 == 0) return (true, Alu.sub(x, y)); // SUB
            if (funct3 == 5) return (true, Alu.sra(x, y)); // SRA
        }
        if (funct7 == 0x01) {
            if (funct3 == 0) return (true, Alu.mul(x, y)); // MUL
            if (funct3 == 1) return (true, Alu.mulh(x, y)); // MULH
            if (funct3 == 2) return (true, Alu.mulhsu(x, y)); // MULHSU
            if (funct3 == 3) return (true, Alu.mulhu(x, y)); // MULHU
            if (funct3 == 4) return (true, Alu.div(x, y)); // DIV
            if (funct3 == 5) return (true, Alu.divu(x, y)); // DIVU
            if (funct3 == 6) return (true, Alu.rem(x, y)); // REM
            return (true, Alu.remu(x, y)); // REMU
        }
        return (false, 0);
    }

    function _op32(uint256 funct3, uint256 funct7, uint64 x, uint64 y) private pure returns (bool, uint64) {
        if (funct7 == 0x00) {
            if (funct3 == 0) return (true, Alu.addw(x, y)); // ADDW
            if (funct3 == 1) return (true, Alu.sllw(x, y)); // SLLW
            if (funct3 == 5) return (true, Alu.srlw(x, y)); // SRLW
        }
        if (funct7 == 0x20) {
            if (funct3 == 0) return (true, Alu.subw(x, y)); // SUBW
            if (funct3 == 5) return (true, Alu.sraw(x, y)); // SRAW
        }
        if (funct7 == 0x01) {
            if (funct3 == 0) return (true, Alu.mulw(x, y)); // MULW
            if (funct3 == 4) return (true, Alu.divw(x, y)); // DIVW
            if (funct3 == 5) return (true, Alu.divuw(x, y)); // DIVUW
            if (funct3 == 6) return (true, Alu.remw(x, y)); // REMW
            if (funct3 == 7) return (true, Alu.remuw(x, y)); // REMUW
        }
        return (false, 0);
    }

    // ------------------------------------------------------------------------------------------ immediates

    function _immI(uint256 word) private pure returns (uint64) {
        return Alu.signExtend(word >> 20, 12);
    }

    function _immS(uint256 word) private pure returns (uint64) {
        return Alu.signExtend(word >> 25 << 5 | word >> 7 & 31, 12);
    }

    function _immB(uint256 word) private pure returns (uint64) {
        return Alu.signExtend(word >> 31 << 12 | (word >> 7 & 1) << 11 | (word >> 25 & 0x3f) << 5 | (word >> 8 & 15) << 1, 13);
    }

    function _immU(uint256 word) private pure returns (uint64) {
        return Alu.signExtend(word >> 12 << 12, 32);
    }

    function _immJ(uint256 word) private pure returns (uint64) {
        return Alu.signExtend(
            word >> 31 << 20 | (word >> 12 & 0xff) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 0x3ff) << 1, 21
        );
    }

    // ------------------------------------------------------------------------------------------ memory

    /// @dev Takes the leaf around `place` off the witness.
    function _take(uint64 place, bytes calldata rest) private pure returns (Proof.Leaf memory, bytes calldata) {
        if (rest.length < LEAF_BYTES) revert MalformedWitness();
        bytes32 leaf = bytes32(rest);
        return (Proof.Leaf(place >> LEAF_LOG2, leaf, leaf), rest[LEAF_BYTES:]);
    }

    /// @dev The little-endian number of `size` bytes at `place`.
    function _load(bytes32 leaf, uint64 place, uint256 size) private pure returns (uint64) {
        return _reverse(uint64(uint256(leaf) >> _shift(place, size)), size);
    }

    /// @dev The leaf with the low `size` bytes of `value` at `place`, little endian.
    function _store(bytes32 leaf, uint64 place, uint256 size, uint64 value) private pure returns (bytes32) {
        uint256 shift = _shift(place, size);
        uint256 mask = ((1 << (8 * size)) - 1) << shift;
        return bytes32(uint256(leaf) & ~mask | uint256(_reverse(value, size)) << shift);
    }

    /// @dev The `size` (1, 2, 4 or 8) low bytes of `value` in reverse order.
    function _reverse(uint64 value, uint256 size) private pure returns (uint64) {
        value = (value & 0x00ff00ff00ff00ff) << 8 | (value >> 8) & 0x00ff00ff00ff00ff;
        value = (value & 0x0000ffff0000ffff) << 16 | (value >> 16) & 0x0000ffff0000ffff;
        value = value << 32 | value >> 32;
        return value >> (64 - 8 * size);
    }

    /// @dev Bits of the leaf below `size` bytes at `place`.
    function _shift(uint64 place, uint256 size) private pure returns (uint256) {
        unchecked {
            return 8 * (LEAF_BYTES - size - place % LEAF_BYTES);
        }
    }
}
