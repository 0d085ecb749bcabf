import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import {
  commands,
  decodeBody,
  encodeFrame,
  FrameDecoder,
  frameFlags,
  limits,
  type MillraceError,
  readErrorBody,
} from '../../../protocol/index.js'
import { connectHello, connectRaw, type RawClient } from '../../helpers/raw_client.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import {
  batchOf,
  ControlledEngines,
  createTopic,
  fetchPartition,
  publish,
  testBroker,
  testClient,
} from '../harness.js'

const test = suite('broker/net/session')
const hello = { versionMin: 1, versionMax: 1, clientName: 'test', clientVersion: '1' }

/** Sends bytes and resolves with the error frame before the end of the connection. */
async function lastWords(client: RawClient, bytes: Uint8Array): Promise<MillraceError> {
  const decoder = new FrameDecoder()
  const errors: MillraceError[] = []
  client.socket.on('data', (chunk: Buffer) => {
    for (const frame of decoder.push(chunk)) {
      assert.is(frame.flags, frameFlags.reply | frameFlags.error)
      errors.push(readErrorBody(decodeBody(frame.body)))
    }
  })
  client.socket.write(bytes)
  await client.closed
  assert.is(errors.length, 1)
  return errors[0] as MillraceError
}

function header(length: number): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32LE(length, 0)
  return bytes
}

test('an unknown command is answered, and the connection stays', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const unknown = { ...commands.ping, number: 9_999 }
  const problem = await client.request(unknown, {}).catch((error: unknown) => error)
  assert.is((problem as MillraceError).code, 'UNKNOWN_COMMAND')
  await client.request(commands.ping, {})
})

test('a request with a wrong field is answered with its path, and the connection stays', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const wrong = { topic: 5 } as unknown as { topic: string }
  const problem = await client.request(commands.topicDelete, wrong).catch((error: unknown) => error)
  assert.is((problem as MillraceError).code, 'BAD_REQUEST')
  assert.match((problem as MillraceError).message, /topic: expected a string/)
  await client.request(commands.ping, {})
})

test('a connection has the whole timeout to send hello, whenever the broker checked last', async (context) => {
  const broker = await testBroker(context, { helloTimeoutMs: 450 })
  const failures: unknown[] = []
  const greet = async (): Promise<void> => {
    const client = await connectRaw(broker.address)
    context.defer(() => client.destroy())
    await sleep(50)
    await client.request(commands.hello, hello)
  }
  // The broker looks about twice a second; some greetings are under way then.
  const greetings: Promise<unknown>[] = []
  for (let n = 0; n < 60; n++, await sleep(20))
    greetings.push(greet().catch((error: unknown) => failures.push(error)))
  await Promise.all(greetings)
  assert.equal(failures, [])
})

test('malformed frames get an error and end the connection', async (context) => {
  const broker = await testBroker(context)
  const deep = Buffer.concat([Buffer.alloc(100, 0x91), Buffer.of(0xc0)])
  const frameWithBody = (body: Uint8Array): Buffer => {
    const head = encodeFrame(commands.ping.number, 0, 5, {})
    const bytes = Buffer.concat([head.subarray(0, 16), body])
    bytes.writeUInt32LE(bytes.length - 4, 0)
    bytes.writeUInt32LE(body.length, 12)
    return bytes
  }
  const falseBody = header(12)
  falseBody.writeUInt32LE(500, 12)
  const malformed = [
    header(limits.frameBytesMax + 1),
    header(0xffff_ffff),
    header(3),
    falseBody,
    encodeFrame(commands.ping.number, frameFlags.reply, 1, {}),
    frameWithBody(Buffer.of(0xc1)),
    frameWithBody(deep),
    frameWithBody(Buffer.of(0xdd, 0xff, 0xff, 0xff, 0xff)),
    frameWithBody(Buffer.of(0x80, 0x80)),
    frameWithBody(Buffer.alloc(0)),
  ]
  for (const bytes of malformed) {
    const client = await connectHello(broker.address)
    assert.is((await lastWords(client, bytes)).code, 'BAD_FRAME', bytes.subarray(0, 32).toString('hex'))
  }
  await (await testClient(context, broker)).request(commands.ping, {})
})

test('before hello a frame may have 4 KiB', async (context) => {
  const broker = await testBroker(context)
  const client = await connectRaw(broker.address)
  const error = await lastWords(client, header(limits.frameBytesBeforeHelloMax + 1))
  assert.match(error.message, /length field is 4,097 bytes \(4\.00 KiB\), expected at most 4 KiB/)
})

test('a frame that arrives byte by byte is accepted, and one that stops halfway ends the connection', async (context) => {
  const broker = await testBroker(context, { receiveStallTimeoutMs: 1_000 })
  const client = await testClient(context, broker)
  const reply = once(client.socket, 'data')
  for (const byte of encodeFrame(commands.ping.number, 0, 77, {})) client.socket.write(Buffer.of(byte))
  await reply
  const error = await lastWords(client, header(1_000))
  assert.match(error.message, /a frame was incomplete for/)
})

test('replies overtake a request that waits', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const order: string[] = []
  const fetching = client
    .request(commands.fetch, {
      waitMs: 60_000,
      bytesMin: 1,
      bytesMax: 1_000,
      partitions: [[topicId, 0, 0, 1_000]],
    })
    .then(() => order.push('fetch'))
  await client.request(commands.ping, {}).then(() => order.push('ping'))
  await publish(client, [topicId, 0, batchOf(['a'])])
  await fetching
  assert.equal(order, ['ping', 'fetch'])
})

test('the broker reads nothing over the limit of requests in flight', async (context) => {
  const broker = await testBroker(context, { inFlightRequestsMax: 4 })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  const polls = (broker as unknown as { longPolls: { size: number } }).longPolls
  const fetchOnce = () =>
    client.request(commands.fetch, {
      waitMs: 60_000,
      bytesMin: 1,
      bytesMax: 1_000,
      partitions: [[topicId, 0, 0, 1_000]],
    })
  const fetches = Array.from({ length: 10 }, fetchOnce)
  await waitFor('four fetches to wait', () => polls.size === 4)
  await publish(await testClient(context, broker), [topicId, 0, batchOf(['a'])])
  await Promise.all(fetches)
})

test('publishers over the byte budget are held back until commits have made room', async (context) => {
  const engines = new ControlledEngines()
  const broker = await testBroker(context, { engines, inboundBytesMax: '1MiB' as unknown as number })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  const server = (broker as unknown as { server: { inbound: { usedBytes: number } } }).server
  engines.hold()
  const batch = batchOf(['x'.repeat(200_000)])
  const requests = 320
  const publishing = Array.from({ length: requests }, () => publish(client, [topicId, 0, batch]))
  await waitFor('the budget to be used up', () => server.inbound.usedBytes >= 1024 * 1024)
  // The budget is exceeded by one request and one chunk; the rest stays with the client and in the kernel.
  const witness = await testClient(context, broker)
  for (let i = 0; i < 100; i++) await witness.request(commands.status, {})
  assert.ok(client.socket.writableLength > 30_000_000, String(client.socket.writableLength))
  assert.ok(server.inbound.usedBytes < 1024 * 1024 + batch.length * 2 + 65_536)
  engines.release()
  const results = await Promise.all(publishing)
  assert.equal(
    results.map(([result]) => result?.baseOffset),
    Array.from({ length: requests }, (_, i) => i),
  )
  await waitFor('the budget to be free', () => server.inbound.usedBytes === 0)
})

test('unfinished frames that use up the budget make room, the largest first', async (context) => {
  const broker = await testBroker(context, { inboundBytesMax: 1024 * 1024, overloadTimeoutMs: 200 })
  const large = await connectHello(broker.address)
  const small = await testClient(context, broker)
  const piece = Buffer.concat([header(8 * 1024 * 1024), Buffer.alloc(900 * 1024)])
  const smaller = Buffer.concat([header(8 * 1024 * 1024), Buffer.alloc(300 * 1024)])
  large.socket.write(piece)
  small.socket.write(smaller)
  await large.closed
  assert.is(small.socket.destroyed, false)
  await (await testClient(context, broker)).request(commands.ping, {})
})

test('a peer that does not read costs limited memory, and is dropped when others need it', async (context) => {
  const broker = await testBroker(context, { outboundBytesMax: 2 * 1024 * 1024, overloadTimeoutMs: 200 })
  const reader = await testClient(context, broker)
  const topicId = await createTopic(reader, 'orders')
  for (let i = 0; i < 20; i++) await publish(reader, [topicId, 0, batchOf(['x'.repeat(500_000)])])
  const lazy = await connectHello(broker.address)
  lazy.socket.pause()
  const body = {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: 500_000,
    partitions: [[topicId, 0, 0, 500_000] as const],
  }
  const requests = Array.from({ length: 200 }, () =>
    lazy.request(commands.fetch, body).catch(() => undefined),
  )
  const { outbound } = (
    broker as unknown as { server: { outbound: { isTight: boolean; usedBytes: number } } }
  ).server
  await waitFor('replies to pile up', () => outbound.isTight)
  assert.ok(outbound.usedBytes < 4 * 1024 * 1024)
  // Waits for room, and gets it once the stalled peer is dropped.
  await reader.request(commands.fetch, body)
  lazy.destroy()
  await Promise.all(requests)
})

test('waiting replies take only the free room', async (context) => {
  const outboundBytesMax = 2 * 1024 * 1024
  const broker = await testBroker(context, { outboundBytesMax })
  const topicId = await createTopic(await testClient(context, broker), 'orders')
  const reader = await connectHello(broker.address)
  for (let i = 0; i < 20; i++) await publish(reader, [topicId, 0, batchOf(['x'.repeat(500_000)])])
  const { outbound } = (broker as unknown as { server: { outbound: { usedBytes: number } } }).server
  let usedBytesMax = 0
  reader.socket.on('data', () => {
    usedBytesMax = Math.max(usedBytesMax, outbound.usedBytes)
  })
  const body = {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: 500_000,
    partitions: [[topicId, 0, 0, 500_000] as const],
  }
  await Promise.all(Array.from({ length: 200 }, () => reader.request(commands.fetch, body)))
  assert.ok(usedBytesMax > outboundBytesMax / 2, 'replies waited for room')
  assert.ok(usedBytesMax < 1.5 * outboundBytesMax, `${usedBytesMax} bytes were on their way`)
})

test('peers that do not read large replies do not block small replies to others', async (context) => {
  const broker = await testBroker(context, { outboundBytesMax: 4 * 1024 * 1024, overloadTimeoutMs: 60_000 })
  const healthy = await testClient(context, broker)
  const topicId = await createTopic(healthy, 'orders')
  for (let i = 0; i < 40; i++) await publish(healthy, [topicId, 0, batchOf(['x'.repeat(500_000)])])
  const { outbound } = (
    broker as unknown as { server: { outbound: { isTight: boolean; usedBytes: number } } }
  ).server
  const wanted = 8_000_000
  const body = {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: wanted,
    partitions: [[topicId, 0, 0, wanted] as const],
  }
  for (let i = 0; i < 6; i++) {
    const stalled = await testClient(context, broker)
    stalled.socket.pause()
    for (let j = 0; j < 4; j++) stalled.request(commands.fetch, body).catch(() => {})
  }
  await waitFor('the room for replies to be used up', () => outbound.isTight)
  await publish(healthy, [topicId, 0, batchOf(['news'])])
  const { records } = await fetchPartition(healthy, topicId, 0, 40, { waitMs: 1_000 })
  assert.equal(records, [{ offset: 40, value: 'news' }])
})

test(
  'a peer that reads nothing for too long is dropped, also when nobody needs the room',
  async (context) => {
    const broker = await testBroker(context, { sendStallTimeoutMs: 1_000 })
    const lazy = await connectHello(broker.address)
    const topicId = await createTopic(lazy, 'orders')
    await publish(lazy, [topicId, 0, batchOf(['x'.repeat(10_000)])])
    lazy.socket.pause()
    const body = {
      waitMs: 0,
      bytesMin: 1,
      bytesMax: 10_000,
      partitions: [[topicId, 0, 0, 10_000] as const],
    }
    const { outbound } = (broker as unknown as { server: { outbound: { usedBytes: number } } }).server
    const requests: Promise<unknown>[] = []
    await waitFor('the sockets to be full', () => {
      for (let i = 0; i < 10; i++) requests.push(lazy.request(commands.fetch, body).catch(() => undefined))
      return outbound.usedBytes > 50_000
    })
    await waitFor('the peer to be dropped', () => outbound.usedBytes === 0, { deadlineMs: 15_000 })
    lazy.destroy()
    await Promise.all(requests)
  },
  { deadlineMs: 20_000 },
)

test.run()
