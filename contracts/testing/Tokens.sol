// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title Tokens for tests: one that behaves, and four that do not. Never deployed live.
contract TestToken is ERC20("Test Token", "TEST") {
    constructor(uint256 supply) {
        _mint(msg.sender, supply);
    }
}

/// @notice Keeps one part in a hundred of every transfer.
contract FeeToken is ERC20("Fee Token", "FEE") {
    constructor(uint256 supply) {
        _mint(msg.sender, supply);
    }

    function _update(address from, address to, uint256 value) internal override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : value / 100;
        super._update(from, to, value - fee);
        if (fee != 0) super._update(from, address(0), fee);
    }
}

/// @notice Returns false, and moves nothing, where others revert.
contract FalseToken is ERC20("False Token", "FALSE") {
    constructor(uint256 supply) {
        _mint(msg.sender, supply);
    }

    function transfer(address, uint256) public pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @notice Says that it moved tokens, and moves none.
contract LyingToken is ERC20("Lying Token", "LIE") {
    constructor(uint256 supply) {
        _mint(msg.sender, supply);
    }

    function transfer(address, uint256) public pure override returns (bool) {
        return true;
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }
}

/// @notice Calls back whoever arms it in the middle of a transfer.
contract ReentrantToken is ERC20("Re-entrant Token", "RE") {
    address private _target;
    bytes private _call;
    bool private _armed;

    /// @notice What the last call back said; empty if it went through.
    bytes public answer;
    /// @notice Whether the last call back went through.
    bool public went;

    constructor(uint256 supply) {
        _mint(msg.sender, supply);
    }

    function arm(address target, bytes calldata call) external {
        (_target, _call, _armed) = (target, call, true);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (!_armed) return;
        _armed = false;
        (went, answer) = _target.call(_call);
    }
}

/// @notice An old token: its functions return nothing.
contract NoReturnToken {
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    constructor(uint256 supply) {
        balanceOf[msg.sender] = supply;
    }

    function approve(address spender, uint256 value) external {
        allowance[msg.sender][spender] = value;
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private {
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}
