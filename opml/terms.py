"""What a model's claims are like unless somebody says otherwise, and how much a claim can post."""

# Seconds. A day for anybody to re-run the model, and as much for all the moves of a side.
WINDOW = 24 * 3600
CLOCK = 24 * 3600

# A transaction's gas is bounded (EIP-7825), and its calldata costs up to 40 gas a byte (EIP-7623).
MAX_TRANSACTION_GAS = 1 << 24
POSTABLE_BYTES = (MAX_TRANSACTION_GAS - 200_000) // 40
