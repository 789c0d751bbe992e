// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {IParameters, PackedListingTerms, PackedVotingTerms} from "../../interfaces/IParameters.sol";
import {Contest} from "./Contest.sol";
import {PackedTerms} from "./PackedTerms.sol";

/// @title Bounded, versioned terms of a token-curated registry
contract Parameters is IParameters, Ownable2Step {
    using PackedTerms for *;

    /// @inheritdoc IParameters
    uint256 public constant MIN_DELAY = 1 hours;
    /// @inheritdoc IParameters
    uint256 public constant MAX_DELAY = 30 days;

    uint256 private constant MAX_SLASH = 5_000;

    /// @inheritdoc IParameters
    uint256 public immutable DELAY;

    /// @dev Today's terms with version and end of grace, so that an application reads one slot.
    PackedListingTerms private _latest;
    Scheduled private _scheduled;
    Terms private _minimum;
    Terms private _maximum;
    mapping(uint256 version => PackedListingTerms) private _listingTerms;
    mapping(uint256 version => PackedVotingTerms) private _votingTerms;

    constructor(Terms memory initial, Terms memory minimum, Terms memory maximum, uint256 delay, address owner_)
        Ownable(owner_)
    {
        if (delay < MIN_DELAY || delay > MAX_DELAY) revert InvalidDelay(delay);
        _checkRanges(minimum, maximum);
        DELAY = delay;
        _minimum = minimum;
        _maximum = maximum;
        _check(initial);

        _set(initial);
    }

    /* CHANGES */

    /// @inheritdoc IParameters
    function schedule(Terms calldata terms) external onlyOwner {
        if (_scheduled.termsHash != 0) revert AlreadyScheduled(_scheduled.termsHash, _scheduled.readyAt);
        _check(terms);
        bytes32 termsHash = _changedHash(terms);

        uint256 readyAt = block.timestamp + DELAY;
        _scheduled = Scheduled(termsHash, uint40(readyAt));

        emit TermsScheduled(termsHash, readyAt, terms);
    }

    /// @inheritdoc IParameters
    function cancel(bytes32 termsHash) external onlyOwner {
        if (termsHash == 0 || termsHash != _scheduled.termsHash) revert NotScheduled(termsHash);

        delete _scheduled;

        emit TermsCancelled(termsHash);
    }

    /// @inheritdoc IParameters
    function execute(Terms calldata terms) external {
        bytes32 termsHash = keccak256(abi.encode(terms));
        if (termsHash != _scheduled.termsHash) revert NotScheduled(termsHash);
        if (block.timestamp < _scheduled.readyAt) revert NotReady(termsHash, _scheduled.readyAt);

        delete _scheduled;
        _set(terms);
    }

    /* VIEWS */

    /// @inheritdoc IParameters
    function check(Terms calldata terms) external view {
        _check(terms);
        _changedHash(terms);
    }

    /// @inheritdoc IParameters
    function current() external view returns (Current memory) {
        return Current(_latest.version(), _latest.graceEndsAt());
    }

    /// @inheritdoc IParameters
    function scheduled() external view returns (Scheduled memory) {
        return _scheduled;
    }

    /// @inheritdoc IParameters
    function listingTerms(uint256 version) external view returns (ListingTerms memory) {
        return packedListing(version).unpack();
    }

    /// @inheritdoc IParameters
    function votingTerms(uint256 version) external view returns (VotingTerms memory) {
        return packedVoting(version).unpack();
    }

    /// @inheritdoc IParameters
    function latestListing() external view returns (PackedListingTerms) {
        return _latest;
    }

    /// @inheritdoc IParameters
    function latestVoting() external view returns (uint256 version, PackedVotingTerms) {
        version = _latest.version();
        return (version, _votingTerms[version]);
    }

    /// @inheritdoc IParameters
    function packedListing(uint256 version) public view returns (PackedListingTerms word) {
        word = _listingTerms[version];
        if (word.minDeposit() == 0) revert UnknownVersion(version);
    }

    /// @inheritdoc IParameters
    function packedVoting(uint256 version) public view returns (PackedVotingTerms word) {
        word = _votingTerms[version];
        if (word.quorum() == 0) revert UnknownVersion(version);
    }

    /// @inheritdoc IParameters
    function ranges() external view returns (Terms memory minimum, Terms memory maximum) {
        return (_minimum, _maximum);
    }

    /* INTERNAL */

    /// @dev A raise of the minimum deposit starts a new period of grace for everybody; nothing else moves it. So no
    /// listing is ever without the whole period after the last raise.
    function _set(Terms memory terms) private {
        uint40 graceEndsAt = _latest.graceEndsAt();
        if (terms.listing.minDeposit > _latest.minDeposit()) {
            graceEndsAt = uint40(block.timestamp + terms.listing.gracePeriod);
        }
        uint16 version = _latest.version() + 1;
        _listingTerms[version] = terms.listing.pack();
        _votingTerms[version] = terms.voting.pack();
        _latest = terms.listing.pack().withVersion(version, graceEndsAt);

        emit ParametersSet(version, graceEndsAt, terms);
    }

    /// @dev Today's terms can be neither scheduled nor overtaken: a proposal of them would keep its stake for ever.
    function _changedHash(Terms calldata terms) private view returns (bytes32 termsHash) {
        uint16 version = _latest.version();
        termsHash = keccak256(abi.encode(terms));
        if (termsHash == keccak256(abi.encode(Terms(_listingTerms[version].unpack(), _votingTerms[version].unpack())))) {
            revert TermsUnchanged(version);
        }
    }

    function _check(Terms memory terms) private view {
        (uint256[14] memory values, string[14] memory names) = _figures(terms);
        (uint256[14] memory minima,) = _figures(_minimum);
        (uint256[14] memory maxima,) = _figures(_maximum);
        for (uint256 i = 0; i < values.length; ++i) {
            if (values[i] < minima[i] || values[i] > maxima[i]) {
                revert OutOfRange(names[i], values[i], minima[i], maxima[i]);
            }
        }
        if (uint256(terms.voting.voterShare) + terms.voting.bounty > Contest.ONE) {
            revert SharesExceedStake(terms.voting.voterShare, terms.voting.bounty);
        }
    }

    /// @dev What the code itself allows, whatever the deployer wanted: see the note at {IParameters}.
    function _checkRanges(Terms memory minimum, Terms memory maximum) private pure {
        (uint256[14] memory minima, string[14] memory names) = _figures(minimum);
        (uint256[14] memory maxima,) = _figures(maximum);
        for (uint256 i = 0; i < minima.length; ++i) {
            // Shares, the bond and the cool-down may be nothing; the rest may not.
            bool mayBeZero = (i >= 7 && i <= 9) || i == 13;
            if (minima[i] > maxima[i] || (minima[i] == 0 && !mayBeZero)) {
                revert InvalidRange(names[i], minima[i], maxima[i]);
            }
        }
        _checkRange(names[6], minima[6], maxima[6], Contest.ONE / 2, Contest.ONE);
        _checkRange(names[7], minima[7], maxima[7], 0, Contest.ONE);
        _checkRange(names[8], minima[8], maxima[8], 0, Contest.ONE);
        _checkRange(names[9], minima[9], maxima[9], 0, MAX_SLASH);
    }

    function _checkRange(string memory name, uint256 minimum, uint256 maximum, uint256 least, uint256 most)
        private
        pure
    {
        if (minimum < least || maximum > most) revert InvalidRange(name, minimum, maximum);
    }

    function _figures(Terms memory terms) private pure returns (uint256[14] memory values, string[14] memory names) {
        ListingTerms memory listing = terms.listing;
        VotingTerms memory voting = terms.voting;
        (values[0], names[0]) = (listing.minDeposit, "minDeposit");
        (values[1], names[1]) = (listing.applyPeriod, "applyPeriod");
        (values[2], names[2]) = (listing.exitDelay, "exitDelay");
        (values[3], names[3]) = (listing.exitWindow, "exitWindow");
        (values[4], names[4]) = (listing.gracePeriod, "gracePeriod");
        (values[5], names[5]) = (voting.quorum, "quorum");
        (values[6], names[6]) = (voting.threshold, "threshold");
        (values[7], names[7]) = (voting.voterShare, "voterShare");
        (values[8], names[8]) = (voting.bounty, "bounty");
        (values[9], names[9]) = (voting.slash, "slash");
        (values[10], names[10]) = (voting.commitPeriod, "commitPeriod");
        (values[11], names[11]) = (voting.revealPeriod, "revealPeriod");
        (values[12], names[12]) = (voting.claimWindow, "claimWindow");
        (values[13], names[13]) = (voting.cooldown, "cooldown");
    }
}
