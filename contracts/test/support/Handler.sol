// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "../../src/IOpml.sol";
import {Recipient} from "../Recipients.sol";
import {Players} from "./Players.sol";

/// @title Everybody who deals with the contract, at random: an honest prover and an honest challenger who move in time,
///        and liars, of whom two are contracts that may refuse or re-enter when paid
/// @notice Each public function is one thing somebody does. It says what must come of it, and the referee notes it.
contract Handler is Players {
    uint256 private constant MAX_CLAIMS = 8;
    uint256 private constant MAX_GAMES = 20;

    bytes32[] private _models;
    uint64[3] private _tiles = [1, 5, 11];

    constructor() {
        _setUp();
        _liars = [address(0xb001), address(new Recipient()), address(new Recipient())];
        for (uint256 i; i < _liars.length; ++i) {
            vm.deal(_liars[i], 1000 ether);
        }
        vm.deal(honestProver, 1000 ether);
        vm.deal(honestChallenger, 1000 ether);
        for (uint256 i; i < _tiles.length; ++i) {
            _models.push(opml.registerModel(_model(_tiles[i], MAX_STEPS), ""));
        }
    }

    // ---------------------------------------------------------------------------------------------------- claims

    function claim(uint256 seed) external {
        if (claims.length == MAX_CLAIMS) return;
        uint256 which = _random(seed, "model", 3);
        address prover = [honestProver, _liars[0], _liars[1], _liars[2]][_random(seed, "prover", 4)];
        Made storage made = claims.push();
        made.tiles = _tiles[which];
        made.c = IOpml.Claim(_models[which], keccak256(abi.encode(seed)), 0, prover, claims.length, false);
        bool right = prover == honestProver || _random(seed, "right", 4) == 0;
        made.c.outputRoot = right ? _tileState(made, made.tiles) : bytes32(seed);
        made.id = opml.claimIdOf(made.c);
        made.deadline = _now() + WINDOW;
        made.status = IOpml.Status.PENDING;
        IOpml.Claim memory c = made.c;
        bytes memory data = abi.encodeCall(IOpml.claimByRoot, (c.modelId, c.inputRoot, c.outputRoot, c.nonce, ""));
        _does(prover, PROVER_BOND, data, 0);
        _does(prover, PROVER_BOND, data, IOpml.ClaimExists.selector);
    }

    function finalise(uint256 seed) external {
        if (claims.length == 0) return;
        Made storage made = claims[seed % claims.length];
        bytes4 reason = _whyNotFinal(made);
        _does(_delegate, 0, abi.encodeCall(IOpml.finalise, (made.id)), reason);
        if (reason != 0) return;
        made.status = IOpml.Status.FINAL;
        credit[made.c.prover] += PROVER_BOND;
        credited += PROVER_BOND;
    }

    function _whyNotFinal(Made storage made) private view returns (bytes4) {
        if (made.status != IOpml.Status.PENDING) return IOpml.WrongStage.selector;
        if (_now() <= made.deadline) return IOpml.WindowOpen.selector;
        return made.openGames == 0 ? bytes4(0) : IOpml.GamesOpen.selector;
    }

    // ----------------------------------------------------------------------------------------------------- games

    /// @dev One to four challenges to one claim.
    function challenge(uint256 seed) external {
        if (claims.length == 0) return;
        uint256 index = _random(seed, "claim", claims.length);
        for (uint256 i = _random(seed, "games", 4); i < 4; ++i) {
            if (plays.length < MAX_GAMES) _challenge(index, uint256(keccak256(abi.encode(seed, i))));
        }
    }

    /// @dev The honest challenger challenges what is false; liars challenge anything, also themselves.
    function _challenge(uint256 index, uint256 seed) private {
        Made storage made = claims[index];
        bool honest = !_isTrue(made) && _random(seed, "honest", 2) == 0;
        address challenger = honest ? honestChallenger : _liars[_random(seed, "liar", _liars.length)];
        uint256 salt = plays.length;
        bytes4 reason;
        if (made.status != IOpml.Status.PENDING) reason = IOpml.WrongStage.selector;
        else if (_now() > made.deadline) reason = IOpml.WindowClosed.selector;
        _does(challenger, CHALLENGER_BOND, abi.encodeCall(IOpml.challenge, (made.c, salt)), reason);
        if (reason != 0) return;
        Play storage play = plays.push();
        play.key = IOpml.GameKey(made.id, challenger, salt);
        play.id = opml.gameIdOf(play.key);
        play.claim = index;
        play.stage = IOpml.Stage.OPEN;
        play.begun = play.lastMove = _now();
        play.clocks = [uint256(CLOCK), CLOCK];
        ++made.openGames;
    }

    /// @dev A few moves, each in some game.
    function move(uint256 seed) external {
        if (plays.length == 0) return;
        for (uint256 i; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            Play storage play = plays[seed % plays.length];
            if (_isOpen(play)) _move(play, seed);
        }
    }

    /// @dev Of some game, or of all of them.
    function timeout(uint256 seed) external {
        if (plays.length == 0) return;
        if (_random(seed, "all", 2) == 0) {
            _timeout(plays[seed % plays.length]);
        } else {
            for (uint256 i; i < plays.length; ++i) {
                _timeout(plays[i]);
            }
        }
    }

    function _timeout(Play storage play) private {
        (bool inTime,) = _left(play);
        bytes4 reason;
        if (!_isOpen(play)) reason = IOpml.WrongStage.selector;
        else if (inTime) reason = IOpml.ClockRunning.selector;
        _does(_delegate, 0, abi.encodeCall(IOpml.timeout, (play.key)), reason);
        if (reason == 0) _end(play, _challengersTurn(play));
    }

    /// @dev No move can be made twice.
    function replay() external {
        if (_lastMove.length == 0) return;
        (bool done,) = _call(_lastSender, 0, _lastMove);
        vm.assertTrue(!done, "I13: a move was made twice");
    }

    // ------------------------------------------------------------------------------------------------------ time

    /// @dev Time passes; the honest wait as long as they can, and then move.
    function pass(uint256 seed) external {
        uint256 how = _random(seed, "how", 4);
        uint256 time = how == 0 ? seed % (2 * WINDOW) : seed % (2 * CLOCK);
        if (how == 1 && plays.length != 0) (, time) = _left(plays[seed % plays.length]); // a clock's last second
        if (how == 2 && claims.length != 0) {
            uint256 deadline = claims[seed % claims.length].deadline; // to the last second of a window
            if (deadline > _now()) time = deadline - _now();
        }
        _pass(time, seed);
    }

    function _pass(uint256 time, uint256 seed) private {
        while (time != 0) {
            uint256 next = time;
            for (uint256 i; i < plays.length; ++i) {
                Play storage play = plays[i];
                while (_isHonestOnTurn(play)) {
                    (, uint256 left) = _left(play);
                    if (left != 0) {
                        if (left < next) next = left;
                        break;
                    }
                    _move(play, seed);
                }
            }
            vm.warp(_now() + next);
            time -= next;
        }
    }

    // ----------------------------------------------------------------------------------------------------- money

    function withdraw(uint256 seed) external {
        address[5] memory all = [honestProver, honestChallenger, _liars[0], _liars[1], _liars[2]];
        _withdraw(all[_random(seed, "account", 5)], _random(seed, "all", 2) == 0 ? type(uint256).max : seed);
    }

    /// @dev I7, I9: nobody is paid for a game or a claim that is not his, not over, or paid already.
    function grab(uint256 seed) external {
        if (plays.length == 0) return;
        address[5] memory all = [honestProver, honestChallenger, _liars[0], _liars[1], _liars[2]];
        address account = all[_random(seed, "account", 5)];
        bytes32[] memory ids = new bytes32[](1);
        IOpml.GameKey[] memory keys = new IOpml.GameKey[](1);
        Play storage play = plays[_random(seed, "game", plays.length)];
        if (_due(play) == 0 || _winner(play) != account) {
            keys[0] = play.key;
            bytes memory data = abi.encodeCall(IOpml.withdraw, (account, new bytes32[](0), keys));
            _does(account, 0, data, IOpml.NotCollectable.selector);
        }
        Made storage made = claims[_random(seed, "claim", claims.length)];
        if (made.c.prover != account || (_whyNotFinal(made) != 0 && made.status != IOpml.Status.FINAL)) {
            ids[0] = made.id;
            bytes4 reason = made.c.prover == account ? _whyNotFinal(made) : IOpml.NotAllowed.selector;
            _does(account, 0, abi.encodeCall(IOpml.withdraw, (account, ids, new IOpml.GameKey[](0))), reason);
        }
    }

    /// @dev Of what `account` can collect, what the bits of `which` name. It is paid that and its credit to the
    ///      wei; if a recipient refuses or re-enters, nothing changes (I11); a delegate's call pays the party (I15).
    function _withdraw(address account, uint256 which) internal {
        bytes32[] memory ids = new bytes32[](claims.length);
        IOpml.GameKey[] memory keys = new IOpml.GameKey[](plays.length);
        (uint256 count, uint256 amount) = (0, credit[account]);
        for (uint256 i; i < claims.length; ++i) {
            Made storage made = claims[i];
            if (made.c.prover != account || which >> i & 1 == 0 || _whyNotFinal(made) != 0) continue;
            ids[count++] = made.id;
            amount += PROVER_BOND;
        }
        assembly ("memory-safe") {
            mstore(ids, count)
        }
        count = 0;
        for (uint256 i; i < plays.length; ++i) {
            Play storage play = plays[i];
            if (_due(play) == 0 || _winner(play) != account || which >> (i + 99) & 1 == 0) continue;
            keys[count++] = play.key;
            amount += _due(play);
        }
        assembly ("memory-safe") {
            mstore(keys, count)
        }
        bytes4 reason;
        if (amount == 0) {
            reason = IOpml.NothingToWithdraw.selector;
        } else if (account.code.length != 0 && Recipient(payable(account)).mood() != Recipient.Mood.ACCEPT) {
            reason = IOpml.PaymentFailed.selector;
        }
        address sender = _delegated[account] && which & 1 == 0 ? _delegate : account;
        uint256 before = account.balance;
        _does(sender, 0, abi.encodeCall(IOpml.withdraw, (account, ids, keys)), reason);
        if (reason != 0) return;
        assertEq(account.balance - before, amount);
        _paid(account, which);
    }

    function _paid(address account, uint256 which) private {
        credited -= credit[account];
        credit[account] = 0;
        for (uint256 i; i < claims.length; ++i) {
            Made storage made = claims[i];
            if (made.c.prover == account && which >> i & 1 == 1 && _whyNotFinal(made) == 0) {
                made.status = IOpml.Status.FINAL;
            }
        }
        for (uint256 i; i < plays.length; ++i) {
            Play storage play = plays[i];
            if (_due(play) != 0 && _winner(play) == account && which >> (i + 99) & 1 == 1) play.collected = true;
        }
    }

    function changeMood(uint256 seed) external {
        Recipient(payable(_liars[1 + seed % 2])).setMood(Recipient.Mood(_random(seed, "mood", 3)));
    }

    function setDelegate(uint256 seed) external {
        address party = [honestProver, honestChallenger, _liars[0], _liars[1]][_random(seed, "party", 4)];
        _delegated[party] = _random(seed, "allowed", 2) == 0;
        _send(party, abi.encodeCall(IOpml.setDelegate, (_delegate, _delegated[party])));
    }

    /// @dev Ether that comes without a call, as the reward of a block does.
    function force(uint256 amount) external {
        amount = bound(amount, 1, 1 ether);
        forced += amount;
        vm.deal(address(opml), address(opml).balance + amount);
    }

    // ------------------------------------------------------------------------------------------------ what holds

    /// @dev Each game and each claim is in the state in which the referee has it.
    function check() external view {
        vm.assertEq(address(opml).balance, _held(), "I8: the balance is what is owed and burnt");
        for (uint256 i; i < claims.length; ++i) {
            IOpml.ClaimState memory c = opml.claims(claims[i].id);
            vm.assertTrue(c.status == claims[i].status, "status");
            vm.assertEq(c.openGames, claims[i].openGames, "open games");
            vm.assertEq(c.lostGames, claims[i].lostGames, "lost games");
        }
        for (uint256 i; i < plays.length; ++i) {
            _checkGame(plays[i]);
        }
    }

    function _checkGame(Play storage play) private view {
        IOpml.Game memory game = opml.games(play.id);
        vm.assertTrue(game.stage == play.stage, "I7: the stage");
        vm.assertTrue(game.collected == play.collected, "I7: collected");
        if (_isOpen(play)) {
            vm.assertEq(game.lastMove, play.lastMove, "time of the last move");
            vm.assertEq(game.proverClock, play.clocks[0], "I14: the prover's clock");
            vm.assertEq(game.challengerClock, play.clocks[1], "I14: the challenger's clock");
            vm.assertTrue(game.phase == play.phase, "phase");
            vm.assertEq(game.position, play.range.position, "position");
            vm.assertEq(game.length, play.range.length, "length");
            (bool inTime,) = _left(play);
            vm.assertTrue(!inTime || _now() <= play.begun + 2 * CLOCK, "a game lasts two clocks at most");
        } else {
            Made storage made = claims[play.claim];
            bool proverWon = play.stage == IOpml.Stage.PROVER_WON;
            vm.assertTrue(proverWon || made.c.prover != honestProver, "I1: the honest prover lost");
            vm.assertTrue(!proverWon || play.key.challenger != honestChallenger, "I1: the honest challenger lost");
        }
    }

    /// @dev From wherever this is, all games can be ended, all claims settled, all that was won be paid.
    function wind_up() external {
        _pass(2 * CLOCK + 1, 0); // the honest make the moves that they owe
        for (uint256 i; i < plays.length; ++i) {
            if (_isOpen(plays[i])) _timeout(plays[i]);
        }
        vm.warp(_now() + WINDOW + 1);
        for (uint256 i = 1; i < 3; ++i) {
            Recipient(payable(_liars[i])).setMood(Recipient.Mood.ACCEPT);
        }
        address[5] memory all = [honestProver, honestChallenger, _liars[0], _liars[1], _liars[2]];
        for (uint256 i; i < all.length; ++i) {
            _withdraw(all[i], type(uint256).max);
        }
        vm.assertEq(address(opml).balance, burnt + forced, "I8: somebody's ether is left");
        vm.assertGe(honestProver.balance, 1000 ether, "I1: the honest prover has less than before");
        vm.assertGe(honestChallenger.balance, 1000 ether, "I1: the honest challenger has less than before");
    }
}
