// Reads a claim and its games through ethers: read_ethers.mjs URL CONTRACT ABI-FILE CLAIM-ID
import { readFileSync } from "node:fs";
import { Contract, JsonRpcProvider, Wallet } from "ethers";

const [url, address, file, claimId, key] = process.argv.slice(2);
// A devnet makes a block for each transaction, at once: what ethers keeps for 250 ms is then too old.
const provider = new JsonRpcProvider(url, undefined, { cacheTimeout: -1 });
const opml = new Contract(address, JSON.parse(readFileSync(file)).abi, provider);

const claim = await opml.claims(claimId);
const challenged = await opml.queryFilter(opml.filters.Challenged(null, claimId), 0);
const games = [];
for (const event of challenged) {
  const game = await opml.games(event.args.gameId);
  games.push({ id: event.args.gameId, challenger: event.args.challenger, stage: Number(game.stage) });
}
const [posted] = await opml.queryFilter(opml.filters.InputPosted(claimId), 0);

// Sends, too: four transactions in a row, each of which needs the nonce after the one before.
const wallet = new Wallet(key, provider);
const gas = [];
for (let n = 0; n < 4; n++) {
  const sent = await opml.connect(wallet).setDelegate(address, n % 2 === 0);
  gas.push(Number((await sent.wait()).gasUsed));
}
let refusal;
try {
  await opml.connect(wallet).finalise.staticCall("0x" + "00".repeat(32));
} catch (error) {
  refusal = error.revert.name;
}
const fees = await provider.getFeeData();
const block = await provider.getBlock("latest", true);
console.log(
  JSON.stringify({
    k: Number(await opml.k()),
    prover: claim.prover,
    openGames: Number(claim.openGames),
    input: posted.args.input,
    games,
    gas,
    refusal,
    dynamicFees: fees.maxFeePerGas !== null,
    transactions: block.prefetchedTransactions.length,
  }),
);
