// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {IParameters, PackedListingTerms, PackedVotingTerms} from "../../interfaces/IParameters.sol";
import {Contest} from "../curation/Contest.sol";
import {PackedTerms} from "../curation/PackedTerms.sol";

/// @title The pure functions of {Contest} and {PackedTerms}, for tests that try everything. Never deployed live.
contract ContestHarness {
    /// @notice {Contest-decide} for all votes below `size`, in one byte each, votes for the challenge first.
    function decideAll(uint256 size, uint256 quorum, uint256 threshold) external pure returns (bytes memory outcomes) {
        outcomes = new bytes(size * size);
        for (uint256 i = 0; i < size * size; ++i) {
            outcomes[i] = bytes1(uint8(Contest.decide(i / size, i % size, quorum, threshold)));
        }
    }

    /// @notice {Contest-split} for all stakes below `size`.
    function splitAll(uint256 size, uint256 voterShare, uint256 bountyShare)
        external
        pure
        returns (uint256[] memory parts)
    {
        parts = new uint256[](3 * size);
        for (uint256 i = 0; i < size; ++i) {
            (parts[3 * i], parts[3 * i + 1], parts[3 * i + 2]) = Contest.split(i, voterShare, bountyShare);
        }
    }

    /// @notice {Contest-share} for weights taken one after the other.
    function shareAll(uint256 pool, uint256[] calldata weights) external pure returns (uint256[] memory shares) {
        uint256 left = 0;
        for (uint256 i = 0; i < weights.length; ++i) left += weights[i];
        shares = new uint256[](weights.length);
        for (uint256 i = 0; i < weights.length; ++i) {
            shares[i] = Contest.share(pool, weights[i], left);
            pool -= shares[i];
            left -= weights[i];
        }
    }

    function decide(uint256 votesFor, uint256 votesAgainst, uint256 quorum, uint256 threshold)
        external
        pure
        returns (IBallotBox.Outcome)
    {
        return Contest.decide(votesFor, votesAgainst, quorum, threshold);
    }

    function split(uint256 stake, uint256 voterShare, uint256 bountyShare)
        external
        pure
        returns (uint256, uint256, uint256)
    {
        return Contest.split(stake, voterShare, bountyShare);
    }

    function packAndUnpack(IParameters.Terms calldata terms)
        external
        pure
        returns (IParameters.Terms memory, uint256 listing, uint256 voting)
    {
        PackedListingTerms packedListing = PackedTerms.pack(terms.listing);
        PackedVotingTerms packedVoting = PackedTerms.pack(terms.voting);
        return (
            IParameters.Terms(PackedTerms.unpack(packedListing), PackedTerms.unpack(packedVoting)),
            PackedListingTerms.unwrap(packedListing),
            PackedVotingTerms.unwrap(packedVoting)
        );
    }
}
