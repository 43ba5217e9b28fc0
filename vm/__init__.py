"""The step machine: RV64IM over a Merkle memory, equal off chain and on chain. See SPEC.md."""
