// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {IParameters, PackedListingTerms, PackedVotingTerms} from "../../interfaces/IParameters.sol";
import {IParameterVote} from "../../interfaces/IParameterVote.sol";
import {PackedTerms} from "./PackedTerms.sol";

/// @title Terms changed by the vote that they govern
contract ParameterVote is IParameterVote, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using PackedTerms for *;

    uint256 private constant MAX_URI = 256;

    /// @notice What is governed here.
    IParameters public immutable parameters;
    /// @notice Where the votes and all tokens are.
    IBallotBox public immutable ballotBox;
    /// @notice The token of stakes.
    IERC20 public immutable token;

    /// @inheritdoc IParameterVote
    uint256 public proposalCount;
    mapping(uint256 proposalId => Proposal) private _proposals;

    constructor(IBallotBox ballotBox_, IParameters parameters_, IERC20 token_) {
        ballotBox = ballotBox_;
        parameters = parameters_;
        token = token_;
    }

    /* CHANGES */

    /// @inheritdoc IParameterVote
    function acceptParameters() external {
        Ownable2Step(address(parameters)).acceptOwnership();
    }

    /// @inheritdoc IParameterVote
    function propose(IParameters.Terms calldata terms, string calldata uri)
        external
        nonReentrant
        returns (uint256 proposalId)
    {
        _checkUri(uri);
        parameters.check(terms);
        PackedListingTerms today = parameters.latestListing();
        uint96 stake = today.minDeposit();

        proposalId = ++proposalCount;
        uint256 challengeEnd = block.timestamp + today.applyPeriod();
        _proposals[proposalId] = Proposal({
            proposer: msg.sender,
            stake: stake,
            challenger: address(0),
            challengeEnd: uint40(challengeEnd),
            version: today.version(),
            state: State.Proposed,
            pollId: 0,
            termsHash: keccak256(abi.encode(terms))
        });

        emit Proposed(proposalId, msg.sender, today.version(), stake, challengeEnd, terms, uri);

        token.safeTransferFrom(msg.sender, address(ballotBox), stake);
        ballotBox.book(stake);
    }

    /// @inheritdoc IParameterVote
    function challenge(uint256 proposalId, string calldata uri) external nonReentrant returns (uint256 pollId) {
        Proposal storage proposal = _in(proposalId, State.Proposed);
        if (block.timestamp >= proposal.challengeEnd) revert ChallengePeriodOver(proposalId, proposal.challengeEnd);
        _checkUri(uri);
        PackedVotingTerms terms = parameters.packedVoting(proposal.version);

        // Tokens first, for the ballot box starts the poll when it has them; the guard holds meanwhile.
        token.safeTransferFrom(msg.sender, address(ballotBox), proposal.stake);
        pollId = ballotBox.startPoll(terms.commitPeriod(), terms.revealPeriod(), terms.slash(), proposal.stake);
        proposal.state = State.Challenged;
        proposal.challenger = msg.sender;
        proposal.pollId = uint40(pollId);

        emit ProposalChallenged(proposalId, msg.sender, pollId, uri);
    }

    /// @inheritdoc IParameterVote
    function resolve(uint256 proposalId) external nonReentrant {
        Proposal storage proposal = _in(proposalId, State.Challenged);
        uint256 pollId = proposal.pollId;
        PackedVotingTerms terms = parameters.packedVoting(proposal.version);
        // Refuses while votes can still come in. The ballot box calls nobody.
        (IBallotBox.Outcome outcome, uint256 rest) =
            ballotBox.close(pollId, terms, proposal.stake, proposal.challenger, msg.sender);
        bool upheld = outcome == IBallotBox.Outcome.Against;

        proposal.state = upheld ? State.Upheld : State.Closed;

        emit ProposalResolved(proposalId, pollId, upheld);

        if (outcome != IBallotBox.Outcome.For) ballotBox.pay(proposal.proposer, proposal.stake + rest);
    }

    /// @inheritdoc IParameterVote
    function applyTerms(uint256 proposalId, IParameters.Terms calldata terms) external nonReentrant {
        Proposal storage proposal = _standing(proposalId);
        if (keccak256(abi.encode(terms)) != proposal.termsHash) revert WrongTerms(proposalId);
        uint256 version = parameters.current().version;
        if (version != proposal.version) revert Overtaken(proposalId, version);

        _close(proposalId, proposal, true);

        parameters.schedule(terms);
    }

    /// @inheritdoc IParameterVote
    function discard(uint256 proposalId) external nonReentrant {
        Proposal storage proposal = _standing(proposalId);
        if (parameters.current().version == proposal.version) revert NotOvertaken(proposalId);

        _close(proposalId, proposal, false);
    }

    /* VIEWS */

    /// @inheritdoc IParameterVote
    function proposalOf(uint256 proposalId) external view returns (Proposal memory) {
        return _proposals[proposalId];
    }

    /* INTERNAL */

    /// @dev A proposal that nobody challenged in time, or that a vote upheld.
    function _standing(uint256 proposalId) private view returns (Proposal storage proposal) {
        proposal = _proposals[proposalId];
        if (proposal.state == State.Upheld) return proposal;
        proposal = _in(proposalId, State.Proposed);
        if (block.timestamp < proposal.challengeEnd) revert ChallengePeriodRuns(proposalId, proposal.challengeEnd);
    }

    function _in(uint256 proposalId, State state) private view returns (Proposal storage proposal) {
        proposal = _proposals[proposalId];
        if (proposal.state != state) revert WrongState(proposalId, proposal.state);
    }

    /// @dev One that was upheld got its stake back with its prize.
    function _close(uint256 proposalId, Proposal storage proposal, bool scheduled) private {
        bool unchallenged = proposal.state == State.Proposed;
        proposal.state = State.Closed;

        emit ProposalClosed(proposalId, scheduled);

        if (unchallenged) ballotBox.pay(proposal.proposer, proposal.stake);
    }

    function _checkUri(string calldata uri) private pure {
        if (bytes(uri).length > MAX_URI) revert UriTooLong(bytes(uri).length);
    }
}
