import { type AddressInfo, createServer } from 'node:net'
import * as assert from 'uvu/assert'
import { commands, encodeFrame, errorFields, MillraceError } from '../../../protocol/index.js'
import { testBroker } from '../../broker/harness.js'
import { Random } from '../../helpers/random.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { FrameSplitter, partsOf } from './frame_bytes.js'
import { Mutator } from './mutator.js'
import { knownNames } from './port_attack.js'
import { PortStorm, replyProblem } from './port_storm.js'
import { recordTraffic } from './recorder.js'
import { replay } from './replay.js'
import { Witness } from './witness.js'

const test = suite('faults/hostile/attack')

/** Answers hello, and every other request with an error that no broker should send. */
async function failingServer({ defer }: TestContext): Promise<number> {
  const server = createServer((socket) => {
    const splitter = new FrameSplitter()
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      for (const frame of splitter.push(chunk)) {
        const { command, correlation } = partsOf(frame)
        const isFirst = correlation === 1
        const body = isFirst ? {} : errorFields(new TypeError('not expected'))
        socket.write(encodeFrame(command, isFirst ? 1 : 3, correlation, body))
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  defer(() => server.close())
  return (server.address() as AddressInfo).port
}

test('an error that the broker did not expect is found in a reply, with its request', async (context) => {
  const internal = encodeFrame(21, 3, 7, errorFields(new TypeError('x')))
  assert.is(replyProblem(internal)?.check, 'internal-error')
  assert.is(replyProblem(encodeFrame(21, 3, 7, errorFields(new MillraceError('BAD_REQUEST')))), undefined)
  assert.is(replyProblem(encodeFrame(21, 1, 7, { results: [{ error: 1 }] }))?.check, 'internal-error')
  assert.is(
    replyProblem(encodeFrame(22, 1, 7, { partitions: [[1, 0, 1, 0, 0, 0]] }))?.check,
    'internal-error',
  )
  assert.is(replyProblem(encodeFrame(21, 1, 7, { results: 'none' }))?.check, 'reply-malformed')

  const recorded = await testBroker(context)
  const recording = await recordTraffic(context, recorded.address.port)
  const random = context.random()
  const known = knownNames(recording)
  const samples = recording.requests
  const mutator = new Mutator({ random, samples, known, side: 'request', roughShare: 0, bombShare: 0 })
  const port = await failingServer(context)
  const storm = new PortStorm({ port, random, mutator, connections: 1, isForbidden: () => false })
  await storm.run(50, context.signal)
  assert.is(storm.findings[0]?.check, 'internal-error')
  assert.match(storm.findings[0]?.evidence ?? '', /frame \d+, [a-z ]+: [0-9a-f]+\nreply: [0-9a-f]+/)
})

test('a witness notices a lost value, a moved value, and an error', async (context) => {
  const broker = await testBroker(context)
  const lost = await Witness.start(context, broker.address.port, 'w1')
  lost.published++
  assert.is((await lost.finish({ drainMs: 500 }))[0]?.check, 'witness-lost')
  const failed = await Witness.start(context, broker.address.port, 'w2')
  await failed.client.topics.delete('witness-w2')
  const findings = await failed.finish({ drainMs: 500 })
  assert.is(findings[0]?.check, 'witness-error')
})

test('the frame of a finding can be sent again', async (context) => {
  const { address } = await testBroker(context)
  const ping = encodeFrame(commands.ping.number, 0, 5, {}).toString('hex')
  assert.equal(await replay(address, ping), { atPort: undefined, atDecoders: undefined, ended: false })
  const garbage = Buffer.from(new Random(1).bytes(40)).fill(0xff, 0, 4).toString('hex')
  assert.is((await replay(address, garbage)).atPort, undefined, 'an error of ours is the right answer')
  const rejected = await replay(address, `${ping}f`).catch((error: unknown) => error)
  assert.ok(rejected instanceof MillraceError)
})

test.run()
