// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IParameters, PackedListingTerms, PackedVotingTerms} from "../../interfaces/IParameters.sol";

/// @title Terms in one word each
/// @notice A struct of nine figures costs 2,500 gas on its way from one contract to another, a word next to nothing; see
/// the rows of challenge and resolve in bench/results/gas.json. Layouts are at the types' definitions.
library PackedTerms {
    /* LISTINGS */

    function pack(IParameters.ListingTerms memory terms) internal pure returns (PackedListingTerms) {
        return PackedListingTerms.wrap(
            uint256(terms.minDeposit) | uint256(terms.applyPeriod) << 96 | uint256(terms.exitDelay) << 120
                | uint256(terms.exitWindow) << 144 | uint256(terms.gracePeriod) << 168
        );
    }

    function unpack(PackedListingTerms word) internal pure returns (IParameters.ListingTerms memory) {
        return IParameters.ListingTerms({
            minDeposit: minDeposit(word),
            applyPeriod: uint24(applyPeriod(word)),
            exitDelay: uint24(exitDelay(word)),
            exitWindow: uint24(exitWindow(word)),
            gracePeriod: uint24(PackedListingTerms.unwrap(word) >> 168)
        });
    }

    function withVersion(PackedListingTerms word, uint16 newVersion, uint40 newGraceEndsAt)
        internal
        pure
        returns (PackedListingTerms)
    {
        return PackedListingTerms.wrap(
            PackedListingTerms.unwrap(word) | uint256(newVersion) << 192 | uint256(newGraceEndsAt) << 208
        );
    }

    function minDeposit(PackedListingTerms word) internal pure returns (uint96) {
        return uint96(PackedListingTerms.unwrap(word));
    }

    function applyPeriod(PackedListingTerms word) internal pure returns (uint256) {
        return uint24(PackedListingTerms.unwrap(word) >> 96);
    }

    function exitDelay(PackedListingTerms word) internal pure returns (uint256) {
        return uint24(PackedListingTerms.unwrap(word) >> 120);
    }

    function exitWindow(PackedListingTerms word) internal pure returns (uint256) {
        return uint24(PackedListingTerms.unwrap(word) >> 144);
    }

    function version(PackedListingTerms word) internal pure returns (uint16) {
        return uint16(PackedListingTerms.unwrap(word) >> 192);
    }

    function graceEndsAt(PackedListingTerms word) internal pure returns (uint40) {
        return uint40(PackedListingTerms.unwrap(word) >> 208);
    }

    /* CHALLENGES */

    function pack(IParameters.VotingTerms memory terms) internal pure returns (PackedVotingTerms) {
        return PackedVotingTerms.wrap(
            uint256(terms.quorum) | uint256(terms.threshold) << 96 | uint256(terms.voterShare) << 112
                | uint256(terms.bounty) << 128 | uint256(terms.slash) << 144 | uint256(terms.commitPeriod) << 160
                | uint256(terms.revealPeriod) << 184 | uint256(terms.cooldown) << 208
                | uint256(terms.claimWindow) << 232
        );
    }

    function unpack(PackedVotingTerms word) internal pure returns (IParameters.VotingTerms memory) {
        return IParameters.VotingTerms({
            quorum: uint96(quorum(word)),
            threshold: uint16(threshold(word)),
            voterShare: uint16(voterShare(word)),
            bounty: uint16(bounty(word)),
            slash: uint16(slash(word)),
            commitPeriod: uint24(commitPeriod(word)),
            revealPeriod: uint24(revealPeriod(word)),
            cooldown: uint24(cooldown(word)),
            claimWindow: uint24(claimWindow(word))
        });
    }

    function quorum(PackedVotingTerms word) internal pure returns (uint256) {
        return uint96(PackedVotingTerms.unwrap(word));
    }

    function threshold(PackedVotingTerms word) internal pure returns (uint256) {
        return uint16(PackedVotingTerms.unwrap(word) >> 96);
    }

    function voterShare(PackedVotingTerms word) internal pure returns (uint256) {
        return uint16(PackedVotingTerms.unwrap(word) >> 112);
    }

    function bounty(PackedVotingTerms word) internal pure returns (uint256) {
        return uint16(PackedVotingTerms.unwrap(word) >> 128);
    }

    function slash(PackedVotingTerms word) internal pure returns (uint256) {
        return uint16(PackedVotingTerms.unwrap(word) >> 144);
    }

    function commitPeriod(PackedVotingTerms word) internal pure returns (uint256) {
        return uint24(PackedVotingTerms.unwrap(word) >> 160);
    }

    function revealPeriod(PackedVotingTerms word) internal pure returns (uint256) {
        return uint24(PackedVotingTerms.unwrap(word) >> 184);
    }

    function cooldown(PackedVotingTerms word) internal pure returns (uint256) {
        return uint24(PackedVotingTerms.unwrap(word) >> 208);
    }

    function claimWindow(PackedVotingTerms word) internal pure returns (uint256) {
        return uint24(PackedVotingTerms.unwrap(word) >> 232);
    }
}
