// The same through viem: read_viem.mjs URL CONTRACT ABI-FILE CLAIM-ID KEY
import { readFileSync } from "node:fs";
import { BaseError, ContractFunctionRevertedError, createPublicClient, createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";

const [url, address, file, claimId, key] = process.argv.slice(2);
const { abi } = JSON.parse(readFileSync(file));
const client = createPublicClient({ chain: foundry, transport: http(url), cacheTime: 0, pollingInterval: 50 });
const wallet = createWalletClient({ account: privateKeyToAccount(key), chain: foundry, transport: http(url) });
const read = (functionName, args = []) => client.readContract({ address, abi, functionName, args });

const claim = await read("claims", [claimId]);
const logs = await client.getContractEvents({ address, abi, eventName: "Challenged", args: { claimId }, fromBlock: 0n });
const games = [];
for (const { args } of logs) {
  const game = await read("games", [args.gameId]);
  games.push({ id: args.gameId, challenger: args.challenger, stage: game.stage });
}
const [posted] = await client.getContractEvents({ address, abi, eventName: "InputPosted", args: { claimId }, fromBlock: 0n });
const gas = [];
for (let n = 0; n < 4; n++) {
  const hash = await wallet.writeContract({ address, abi, functionName: "setDelegate", args: [address, n % 2 === 0] });
  gas.push(Number((await client.waitForTransactionReceipt({ hash })).gasUsed));
}
let refusal;
try {
  await client.simulateContract({ address, abi, functionName: "finalise", args: ["0x" + "00".repeat(32)] });
} catch (error) {
  const reverted = error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionRevertedError);
  refusal = reverted.data.errorName;
}
const fees = await client.estimateFeesPerGas();
const block = await client.getBlock({ includeTransactions: true });
console.log(
  JSON.stringify({
    k: Number(await read("k")),
    prover: claim.prover,
    openGames: Number(claim.openGames),
    input: posted.args.input,
    games,
    gas,
    refusal,
    dynamicFees: fees.maxFeePerGas !== undefined,
    transactions: block.transactions.length,
  }),
);
