// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title One step of the opml machine (RV64IM, vm/SPEC.md)
/// @notice Stateless: a witness carries all that one step touches, proved against the memory root it begins with.
interface IStepVerifier {
    /// @notice The witness is not well formed: wrong length, a proof that does not lead to the root, or a status
    ///         that no machine has. A property of the caller's bytes alone: for every state of the guest there is
    ///         a witness that does not revert, since whatever a guest may do wrong is a trap, which is a state.
    error MalformedWitness();

    /// @notice Executes one step.
    /// @param witness state (289 bytes) ‖ [fetch leaf ‖ [data leaf] ‖ proof], nothing before, between or after.
    ///        The fetch leaf and the proof are there iff the machine is running and its pc is 4-aligned and within
    ///        memory; the data leaf iff the instruction is a load or store whose address is naturally aligned, within
    ///        memory and outside the fetch leaf. The proof is against the root in the state: Proof.sol; its paths are
    ///        encoded as in MerkleMemory.sol.
    /// @return pre  keccak256 of the state before.
    /// @return post keccak256 of the state after; equal to `pre` for a machine that has halted or trapped.
    function step(bytes calldata witness) external pure returns (bytes32 pre, bytes32 post);
}
