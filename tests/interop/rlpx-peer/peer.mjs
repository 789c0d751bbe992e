#!/usr/bin/env node
// A foreign RLPx node for the interop tests, around @ethereumjs/devp2p 10 (see test_rlpx_devp2p.py).
//
//   node peer.mjs <private key, 64 hex> [capability/version/length ...]      default capability: shh/6/128
//
// It listens on a free loopback port. Both ways one JSON object a line:
//   stdin   {"do": "connect", "id", "port"}  {"do": "send", "code", "payload"}  {"do": "disconnect", "reason"}  {"do": "quit"}
//   stdout  {"event": "listening" | "hello" | "message" | "closed" | "error", ...}
//
// The library's own sub-protocol class knows Ethereum only and hangs up after 5 s without an Ethereum status, so we give
// it a class of ours, which hands every message over as it is.
import * as readline from 'node:readline'
import { RLPx } from '@ethereumjs/devp2p'
import * as snappy from 'snappyjs'

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'))
const say = (event, rest = {}) => process.stdout.write(JSON.stringify({ event, ...rest }) + '\n')

const [key, ...names] = process.argv.slice(2)
const live = new Set()

class Channel {
  constructor(name, version, peer, send) {
    Object.assign(this, { name, version, peer, sendBytes: send })
    live.add(this)
    readLongIds(peer._eciesSession)
    const hello = peer.getHelloMessage()
    say('hello', {
      id: hex(peer.getId()),
      clientId: hello.clientId,
      version: hello.protocolVersion,
      capabilities: hello.capabilities.map((each) => [each.name, each.version]),
      port: hello.port,
      shared: `${name}/${version}`,
    })
  }

  send(code, payload) {
    const version = this.peer.getHelloMessage().protocolVersion
    this.sendBytes(code, version >= 5 ? snappy.compress(payload) : payload)
  }

  _handleMessage(code, payload) {
    say('message', { capability: this.name, code, payload: hex(payload) })
  }
}

// The library takes a message's first byte for its id, but from 0x80 on an id is RLP of two bytes: 0x81, id.
function readLongIds(session) {
  if (session.readsLongIds) return
  session.readsLongIds = true
  const parseBody = session.parseBody.bind(session)
  session.parseBody = (data) => {
    const body = parseBody(data)
    return body !== undefined && body[0] === 0x81 ? body.subarray(1) : body
  }
}

const capabilities = (names.length > 0 ? names : ['shh/6/128']).map((text) => {
  const [name, version, length] = text.split('/')
  const constructor = class extends Channel {
    constructor(version, peer, send) {
      super(name, version, peer, send)
    }
  }
  return { name, version: Number(version), length: Number(length), constructor }
})

const node = new RLPx(bytes(key), {
  capabilities,
  maxPeers: 10,
  listenPort: null,
  clientId: new TextEncoder().encode('interop/ethereumjs-devp2p-10'),
})
node.events.on('error', (error) => say('error', { message: error.message }))
node.events.on('peer:error', (_, error) => say('error', { message: error.message }))
node.events.on('peer:removed', (peer, reason, byUs) => {
  for (const channel of live) if (channel.peer === peer) live.delete(channel)
  say('closed', { reason, byUs })
})
node.events.on('listening', () => say('listening', { id: hex(node.id), port: node._server.address().port }))
node.listen(0, '127.0.0.1')

const commands = {
  connect: ({ id, port }) =>
    node
      .connect({ id: bytes(id), address: '127.0.0.1', tcpPort: port })
      .catch((error) => say('error', { message: error.message })),
  send: ({ code, payload }) => live.forEach((channel) => channel.send(code, bytes(payload))),
  disconnect: ({ reason }) => live.forEach((channel) => channel.peer.disconnect(reason)),
  quit: () => process.exit(0),
}
readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line)
    commands[command.do](command)
  })
  .on('close', () => process.exit(0))
