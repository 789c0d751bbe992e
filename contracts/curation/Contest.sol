// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBallotBox} from "../../interfaces/IBallotBox.sol";

/// @title The arithmetic of a contest between two equal stakes
/// @notice Pure, so that it can be checked exhaustively: see tests/contracts/curation/test_contest.py.
library Contest {
    /// @notice What shares and thresholds are parts of.
    uint256 internal constant ONE = 10_000;

    /// @notice Who won.
    /// @dev A tie, or fewer votes than the quorum, is a draw. Otherwise the challenge needs the threshold, and reaching
    /// it is enough. Given a quorum of at least 1 and a threshold of 1 to {ONE}, whoever wins has votes.
    function decide(uint256 votesFor, uint256 votesAgainst, uint256 quorum, uint256 threshold)
        internal
        pure
        returns (IBallotBox.Outcome)
    {
        uint256 turnout = votesFor + votesAgainst;
        if (turnout < quorum || votesFor == votesAgainst) return IBallotBox.Outcome.Draw;
        return votesFor * ONE >= turnout * threshold ? IBallotBox.Outcome.For : IBallotBox.Outcome.Against;
    }

    /// @notice How the loser's stake is divided; what rounding leaves goes to the party that won.
    /// @dev Given `voterShare + bountyShare <= ONE`, the three sum to the stake exactly.
    function split(uint256 stake, uint256 voterShare, uint256 bountyShare)
        internal
        pure
        returns (uint256 reward, uint256 bounty, uint256 rest)
    {
        reward = stake * voterShare / ONE;
        bounty = stake * bountyShare / ONE;
        rest = stake - reward - bounty;
    }

    /// @notice A voter's part of what is left, by weight; rounded down.
    /// @dev The last one to take gets all that is left, for then `weight == weightLeft`.
    function share(uint256 poolLeft, uint256 weight, uint256 weightLeft) internal pure returns (uint256) {
        return poolLeft * weight / weightLeft;
    }

    /// @notice What a vote puts up. Exact if the weight is a multiple of {ONE}.
    function bond(uint256 weight, uint256 slash) internal pure returns (uint256) {
        return weight * slash / ONE;
    }
}
