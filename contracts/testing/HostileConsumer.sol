// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {IParameters, PackedVotingTerms} from "../../interfaces/IParameters.sol";
import {PackedTerms} from "../curation/PackedTerms.sol";

/// @title A consumer that asks its ballot box for whatever it is told to. Never deployed live.
contract HostileConsumer {
    IBallotBox private immutable _box;

    constructor(IBallotBox box) {
        _box = box;
    }

    function bring(IERC20 token, uint256 amount) external {
        require(token.transfer(address(_box), amount));
    }

    function book(uint256 amount) external {
        _box.book(amount);
    }

    function pay(address account, uint256 amount) external {
        _box.pay(account, amount);
    }

    function startPoll(uint256 commitPeriod, uint256 revealPeriod, uint256 slash, uint256 stake) external {
        _box.startPoll(commitPeriod, revealPeriod, slash, stake);
    }

    function close(uint256 pollId, uint96 quorum, uint256 stake, address challenger) external {
        IParameters.VotingTerms memory terms;
        terms.quorum = quorum;
        PackedVotingTerms word = PackedTerms.pack(terms);
        _box.close(pollId, word, stake, challenger, msg.sender);
    }
}
