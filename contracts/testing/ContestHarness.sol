// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {IParameters} from "../../interfaces/IParameters.sol";
import {Contest} from "../curation/Contest.sol";

/// @title The pure functions of {Contest}, many at a time, for tests that try everything. Never deployed live.
contract ContestHarness {
    /// @notice {Contest-decide} for all votes below `size`, in one byte each, votes for the challenge first.
    function decideAll(uint256 size, uint96 quorum, uint16 threshold) external pure returns (bytes memory outcomes) {
        IParameters.VotingTerms memory terms;
        terms.quorum = quorum;
        terms.threshold = threshold;
        outcomes = new bytes(size * size);
        for (uint256 i = 0; i < size * size; ++i) {
            outcomes[i] = bytes1(uint8(Contest.decide(i / size, i % size, terms)));
        }
    }

    function decide(uint256 votesFor, uint256 votesAgainst, uint96 quorum, uint16 threshold)
        external
        pure
        returns (IBallotBox.Outcome)
    {
        IParameters.VotingTerms memory terms;
        terms.quorum = quorum;
        terms.threshold = threshold;
        return Contest.decide(votesFor, votesAgainst, terms);
    }

    function split(uint256 stake, uint16 voterShare, uint16 bounty)
        external
        pure
        returns (uint256, uint256, uint256)
    {
        IParameters.VotingTerms memory terms;
        terms.voterShare = voterShare;
        terms.bounty = bounty;
        return Contest.split(stake, terms);
    }
}
