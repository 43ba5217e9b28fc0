// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Alu} from "./Alu.sol";
import {DEPTH, HALTED, LEAF_BYTES, LEAF_LOG2, MEMORY_BYTES, REG_A7, RUNNING, STATE_BYTES, SYSCALL_EXIT, TRAPPED}
    from "./Constants.sol";
import {IStepVerifier} from "./IStepVerifier.sol";
import {MachineState} from "./MachineState.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title One instruction of RV64IM over a witness
/// @notice To be read beside vm/step.py, of which it is a transcript: same cases in the same order. Each case says
///         whether the word is legal and what is written; whatever is not legal is a trap, which changes the status
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
        if (rest.length != 0) revert MalformedWitness();
        post = keccak256(state);
    }

    function _fetch(bytes memory state, bytes calldata rest) private pure returns (bytes calldata) {
        uint64 pc = state.pc();
        if (pc % 4 != 0 || pc >= MEMORY_BYTES) return _trap(state, rest);
        bytes32 leaf;
        (leaf,, rest) = _open(state, pc, rest);
        return _execute(state, pc, uint32(_load(leaf, pc, 4)), rest);
    }

    /// @dev Executes `word`, the instruction at `pc`; gives back what is left of the witness.
    function _execute(bytes memory state, uint64 pc, uint32 word, bytes calldata rest)
        private
        pure
        returns (bytes calldata)
    {
        uint256 opcode = word & 0x7f;
        uint256 funct3 = word >> 12 & 7;
        uint64 a = state.register(word >> 15 & 31);
        uint64 b = state.register(word >> 20 & 31);
        uint64 next = Alu.add(pc, 4);
        bool legal = true;
        uint256 rd = word >> 7 & 31;
        uint64 value;

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
            next = Alu.add(a, _immI(word)) & ~uint64(1);
        } else if (opcode == 0x63) {
            bool taken;
            (legal, taken) = _branch(funct3, a, b);
            if (taken) next = Alu.add(pc, _immB(word));
            rd = 0;
        } else if (opcode == 0x03) {
            legal = funct3 != 7;
            uint64 place = Alu.add(a, _immI(word));
            uint256 size = 1 << (funct3 & 3);
            if (!legal || !_accessible(place, size)) return _trap(state, rest);
            bytes32 leaf;
            (leaf,, rest) = _open(state, place, rest);
            value = _load(leaf, place, size);
            if (funct3 < 4) value = Alu.sext(value, 8 * size); // LB, LH, LW, LD; else LBU, LHU, LWU
        } else if (opcode == 0x23) {
            legal = funct3 < 4; // SB, SH, SW, SD
            uint64 place = Alu.add(a, _immS(word));
            uint256 size = 1 << (funct3 & 3);
            if (!legal || !_accessible(place, size)) return _trap(state, rest);
            bytes32 leaf;
            bytes calldata path;
            (leaf, path, rest) = _open(state, place, rest);
            leaf = _store(leaf, place, size, b);
            state.setRoot(MerkleMemory.fold(leaf, 0, place >> LEAF_LOG2, DEPTH, path));
            rd = 0;
        } else if (opcode == 0x13) {
            (legal, value) = _opImm(funct3, word >> 26, a, _immI(word));
        } else if (opcode == 0x1b) {
            (legal, value) = _opImm32(funct3, word >> 25, a, _immI(word));
        } else if (opcode == 0x33) {
            (legal, value) = _op(funct3, word >> 25, a, b);
        } else if (opcode == 0x3b) {
            (legal, value) = _op32(funct3, word >> 25, a, b);
        } else if (opcode == 0x0f) {
            legal = funct3 == 0; // FENCE: memory is in order
            rd = 0;
        } else if (word == 0x00000073 && state.register(REG_A7) == SYSCALL_EXIT) {
            state.setStatus(HALTED); // ECALL, the only one there is
            return rest;
        } else {
            legal = false;
        }

        if (!legal || next % 4 != 0) return _trap(state, rest);
        state.setRegister(rd, value);
        state.setPc(next);
        return rest;
    }

    function _trap(bytes memory state, bytes calldata rest) private pure returns (bytes calldata) {
        state.setStatus(TRAPPED);
        return rest;
    }

    // ------------------------------------------------------------------------------------------ operations

    function _branch(uint256 funct3, uint64 a, uint64 b) private pure returns (bool legal, bool taken) {
        legal = funct3 != 2 && funct3 != 3;
        if (funct3 == 0) taken = a == b; // BEQ
        else if (funct3 == 1) taken = a != b; // BNE
        else if (funct3 == 4) taken = Alu.slt(a, b) == 1; // BLT
        else if (funct3 == 5) taken = Alu.slt(a, b) == 0; // BGE
        else if (funct3 == 6) taken = Alu.sltu(a, b) == 1; // BLTU
        else if (funct3 == 7) taken = Alu.sltu(a, b) == 0; // BGEU
    }

    /// @param top the immediate's upper six bits: with shifts they must be 0, or 0x10 for SRAI
    function _opImm(uint256 funct3, uint256 top, uint64 a, uint64 imm) private pure returns (bool, uint64) {
        if (funct3 == 0) return (true, Alu.add(a, imm)); // ADDI
        if (funct3 == 1) return (top == 0, Alu.sll(a, imm)); // SLLI
        if (funct3 == 2) return (true, Alu.slt(a, imm)); // SLTI
        if (funct3 == 3) return (true, Alu.sltu(a, imm)); // SLTIU
        if (funct3 == 4) return (true, a ^ imm); // XORI
        if (funct3 == 5) return top == 0x10 ? (true, Alu.sra(a, imm)) : (top == 0, Alu.srl(a, imm)); // SRAI, SRLI
        if (funct3 == 6) return (true, a | imm); // ORI
        return (true, a & imm); // ANDI
    }

    /// @param top the immediate's upper seven bits: with shifts they must be 0, or 0x20 for SRAIW
    function _opImm32(uint256 funct3, uint256 top, uint64 a, uint64 imm) private pure returns (bool, uint64) {
        if (funct3 == 0) return (true, Alu.addw(a, imm)); // ADDIW
        if (funct3 == 1) return (top == 0, Alu.sllw(a, imm)); // SLLIW
        if (funct3 == 5) return top == 0x20 ? (true, Alu.sraw(a, imm)) : (top == 0, Alu.srlw(a, imm)); // SRAIW, SRLIW
        return (false, 0);
    }

    function _op(uint256 funct3, uint256 funct7, uint64 a, uint64 b) private pure returns (bool, uint64) {
        if (funct7 == 0x00) {
            if (funct3 == 0) return (true, Alu.add(a, b)); // ADD
            if (funct3 == 1) return (true, Alu.sll(a, b)); // SLL
            if (funct3 == 2) return (true, Alu.slt(a, b)); // SLT
            if (funct3 == 3) return (true, Alu.sltu(a, b)); // SLTU
            if (funct3 == 4) return (true, a ^ b); // XOR
            if (funct3 == 5) return (true, Alu.srl(a, b)); // SRL
            if (funct3 == 6) return (true, a | b); // OR
            return (true, a & b); // AND
        }
        if (funct7 == 0x20) {
            if (funct3 == 0) return (true, Alu.sub(a, b)); // SUB
            if (funct3 == 5) return (true, Alu.sra(a, b)); // SRA
        }
        if (funct7 == 0x01) {
            if (funct3 == 0) return (true, Alu.mul(a, b)); // MUL
            if (funct3 == 1) return (true, Alu.mulh(a, b)); // MULH
            if (funct3 == 2) return (true, Alu.mulhsu(a, b)); // MULHSU
            if (funct3 == 3) return (true, Alu.mulhu(a, b)); // MULHU
            if (funct3 == 4) return (true, Alu.div(a, b)); // DIV
            if (funct3 == 5) return (true, Alu.divu(a, b)); // DIVU
            if (funct3 == 6) return (true, Alu.rem(a, b)); // REM
            return (true, Alu.remu(a, b)); // REMU
        }
        return (false, 0);
    }

    function _op32(uint256 funct3, uint256 funct7, uint64 a, uint64 b) private pure returns (bool, uint64) {
        if (funct7 == 0x00) {
            if (funct3 == 0) return (true, Alu.addw(a, b)); // ADDW
            if (funct3 == 1) return (true, Alu.sllw(a, b)); // SLLW
            if (funct3 == 5) return (true, Alu.srlw(a, b)); // SRLW
        }
        if (funct7 == 0x20) {
            if (funct3 == 0) return (true, Alu.subw(a, b)); // SUBW
            if (funct3 == 5) return (true, Alu.sraw(a, b)); // SRAW
        }
        if (funct7 == 0x01) {
            if (funct3 == 0) return (true, Alu.mulw(a, b)); // MULW
            if (funct3 == 4) return (true, Alu.divw(a, b)); // DIVW
            if (funct3 == 5) return (true, Alu.divuw(a, b)); // DIVUW
            if (funct3 == 6) return (true, Alu.remw(a, b)); // REMW
            if (funct3 == 7) return (true, Alu.remuw(a, b)); // REMUW
        }
        return (false, 0);
    }

    // ------------------------------------------------------------------------------------------ immediates

    function _immI(uint256 word) private pure returns (uint64) {
        return Alu.sext(word >> 20, 12);
    }

    function _immS(uint256 word) private pure returns (uint64) {
        return Alu.sext(word >> 25 << 5 | word >> 7 & 31, 12);
    }

    function _immB(uint256 word) private pure returns (uint64) {
        return Alu.sext(word >> 31 << 12 | (word >> 7 & 1) << 11 | (word >> 25 & 0x3f) << 5 | (word >> 8 & 15) << 1, 13);
    }

    function _immU(uint256 word) private pure returns (uint64) {
        return Alu.sext(word >> 12 << 12, 32);
    }

    function _immJ(uint256 word) private pure returns (uint64) {
        return Alu.sext(
            word >> 31 << 20 | (word >> 12 & 0xff) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 0x3ff) << 1, 21
        );
    }

    // ------------------------------------------------------------------------------------------ memory

    /// @dev Aligned accesses lie within one leaf, and within memory if they begin there.
    function _accessible(uint64 place, uint256 size) private pure returns (bool) {
        return place % size == 0 && place < MEMORY_BYTES;
    }

    /// @dev Takes the leaf around `place` and its path off the witness, and checks them against the state's root.
    function _open(bytes memory state, uint64 place, bytes calldata rest)
        private
        pure
        returns (bytes32 leaf, bytes calldata path, bytes calldata)
    {
        if (rest.length < LEAF_BYTES) revert MalformedWitness();
        leaf = bytes32(rest);
        (path, rest) = MerkleMemory.split(rest[LEAF_BYTES:], DEPTH);
        if (MerkleMemory.fold(leaf, 0, place >> LEAF_LOG2, DEPTH, path) != state.root()) revert MalformedWitness();
        return (leaf, path, rest);
    }

    /// @dev The little-endian number of `size` bytes at `place`.
    function _load(bytes32 leaf, uint64 place, uint256 size) private pure returns (uint64) {
        return Alu.reverse(uint64(uint256(leaf) >> _shift(place, size)), size);
    }

    /// @dev The leaf with the low `size` bytes of `value` at `place`, little endian.
    function _store(bytes32 leaf, uint64 place, uint256 size, uint64 value) private pure returns (bytes32) {
        uint256 shift = _shift(place, size);
        uint256 mask = ((1 << (8 * size)) - 1) << shift;
        return bytes32(uint256(leaf) & ~mask | uint256(Alu.reverse(value, size)) << shift);
    }

    /// @dev Bits of the leaf below `size` bytes at `place`.
    function _shift(uint64 place, uint256 size) private pure returns (uint256) {
        return 8 * (LEAF_BYTES - size - place % LEAF_BYTES);
    }
}
