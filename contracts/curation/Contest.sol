// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {IParameters} from "../../interfaces/IParameters.sol";

/// @title The arithmetic of a contest between two equal stakes
/// @notice Pure, so that it can be checked exhaustively: see tests/contracts/curation/test_contest.py.
library Contest {
    uint256 internal constant ONE = 10_000;

    /// @notice Who won.
    /// @dev A tie, or fewer votes than the quorum, is a draw. Otherwise the challenge needs the threshold, and reaching
    /// it is enough. Given a quorum of at least 1 and a threshold of 1 to {ONE}, whoever wins has votes.
    function decide(uint256 votesFor, uint256 votesAgainst, IParameters.VotingTerms memory terms)
        internal
        pure
        returns (IBallotBox.Outcome)
    {
        uint256 turnout = votesFor + votesAgainst;
        if (turnout < terms.quorum || votesFor == votesAgainst) return IBallotBox.Outcome.Draw;
        return votesFor * ONE >= turnout * terms.threshold ? IBallotBox.Outcome.For : IBallotBox.Outcome.Against;
    }

    /// @notice How the loser's stake is divided; what rounding leaves goes to the party that won.
    /// @dev Given `voterShare + bounty <= ONE`, the three sum to the stake exactly.
    function split(uint256 stake, IParameters.VotingTerms memory terms)
        internal
        pure
        returns (uint256 reward, uint256 bounty, uint256 rest)
    {
        reward = stake * terms.voterShare / ONE;
        bounty = stake * terms.bounty / ONE;
        rest = stake - reward - bounty;
    }
}
