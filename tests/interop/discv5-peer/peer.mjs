// @chainsafe/discv5 nodes driven over standard input and output, one JSON document a line.
//
// Its argument is how many; without one it is one. First line out: {"enr", "nodeId", "port", "enrs"}, of the first and the
// records of all. Commands in: {"id", "do", "node", ...}, `node` counting from 0; each is answered by {"id", ...result} or
// {"id", "error"}. It ends with its standard input. Listens on loopback, on ports that were free a moment before.
//
//   ping      {enr}                     -> {seq, ip, port}
//   findnode  {enr, distances}          -> {enrs}
//   talk      {enr, protocol, data}     -> {data}          data is hex; it answers others' requests with "echo:" + request
//   lookup    {target}                  -> {enrs}
//   add       {enr}                     -> {}
//   table     {}                        -> {enrs}
//   seen      {}                        -> {types}         how many messages of each type were decrypted, by all nodes
//   repeat    {what, enr, times, atOnce, distances} -> {seconds, failed}
//   meet      {enr, times}              -> {milliseconds}  handshake + PONG, each from a fresh node
import dgram from "node:dgram";
import {createInterface} from "node:readline";
import {Discv5} from "@chainsafe/discv5";
import {Session} from "../../../node_modules/@chainsafe/discv5/lib/session/session.js";
import {ENR, SignableENR} from "@chainsafe/enr";
import {generateKeyPair} from "@libp2p/crypto/keys";
import {multiaddr} from "@multiformats/multiaddr";

const IP = "127.0.0.1";
const seconds = () => Number(process.hrtime.bigint()) / 1e9;

function freePort() {
  return new Promise((resolve) => {
    const socket = dgram.createSocket("udp4");
    socket.bind(0, IP, () => {
      const {port} = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

async function open() {
  const port = await freePort();
  const privateKey = await generateKeyPair("secp256k1");
  const enr = SignableENR.createFromPrivateKey(privateKey);
  enr.ip = IP;
  enr.udp = port;
  const node = Discv5.create({
    enr,
    privateKey,
    bindAddrs: {ip4: multiaddr(`/ip4/${IP}/udp/${port}`)},
    config: {enrUpdate: false, requestTimeout: 2000},
  });
  node.on("talkReqReceived", (source, _, message) => {
    const answer = Buffer.concat([Buffer.from("echo:"), Buffer.from(message.request)]);
    node.sendTalkResp(source, message.id, answer).catch(() => {});
  });
  await node.start();
  return {node, enr, port};
}

const types = {};
const {decryptMessage} = Session.prototype;
Session.prototype.decryptMessage = function (...sealed) {
  const message = decryptMessage.apply(this, sealed);
  types[message[0]] = (types[message[0]] ?? 0) + 1;
  return message;
};

const nodes = [];
for (let i = 0; i < Number(process.argv[2] ?? 1); i++) nodes.push(await open());
const [{enr, port}] = nodes;

const commands = {
  async seen() {
    return {types};
  },
  async ping(node, {enr}) {
    const pong = await node.sendPing(ENR.decodeTxt(enr));
    const {addr} = pong;
    return {seq: Number(pong.enrSeq), port: addr.port, ip: [...addr.ip.octets].join(".")};
  },
  async findnode(node, {enr, distances}) {
    return {enrs: (await node.sendFindNode(ENR.decodeTxt(enr), distances)).map((each) => each.encodeTxt())};
  },
  async talk(node, {enr, protocol, data}) {
    const answer = await node.sendTalkReq(ENR.decodeTxt(enr), Buffer.from(data, "hex"), protocol);
    return {data: Buffer.from(answer).toString("hex")};
  },
  async lookup(node, {target}) {
    return {enrs: (await node.findNode(target)).map((each) => each.encodeTxt())};
  },
  async add(node, {enr}) {
    node.addEnr(enr);
    return {};
  },
  async table(node) {
    return {enrs: node.kadValues().map((each) => each.encodeTxt())};
  },
  async repeat(node, {what, enr, times, atOnce, distances}) {
    const target = ENR.decodeTxt(enr);
    const once = what === "ping" ? () => node.sendPing(target) : () => node.sendFindNode(target, distances);
    await once();
    let begun = 0;
    let failed = 0;
    const start = seconds();
    const worker = async () => {
      while (begun++ < times) await once().catch(() => failed++);
    };
    await Promise.all(Array.from({length: atOnce}, worker));
    return {seconds: seconds() - start, failed};
  },
  async meet(_, {enr, times}) {
    const target = ENR.decodeTxt(enr);
    const milliseconds = [];
    for (let i = 0; i < times; i++) {
      const fresh = await open();
      const start = seconds();
      await fresh.node.sendPing(target);
      milliseconds.push((seconds() - start) * 1e3);
      await fresh.node.stop();
    }
    return {milliseconds};
  },
};

const say = (document) => process.stdout.write(JSON.stringify(document) + "\n");
say({enr: enr.encodeTxt(), nodeId: enr.nodeId, port, enrs: nodes.map((each) => each.enr.encodeTxt())});
const lines = createInterface({input: process.stdin});
lines.on("line", async (line) => {
  const {id, do: name, node: number, ...rest} = JSON.parse(line);
  try {
    say({id, ...(await commands[name](nodes[number ?? 0].node, rest))});
  } catch (error) {
    say({id, error: String(error?.code ?? error?.message ?? error)});
  }
});
lines.on("close", async () => {
  await Promise.all(nodes.map((each) => each.node.stop()));
  process.exit(0);
});
