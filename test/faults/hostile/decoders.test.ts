import * as assert from 'uvu/assert'
import { commands, decodeBody } from '../../../protocol/index.js'
import { testBroker } from '../../broker/harness.js'
import { Random } from '../../helpers/random.js'
import { suite } from '../../helpers/suite.js'
import { tryDecoders } from './decoder_target.js'
import { partsOf } from './frame_bytes.js'
import { BodyGenerator } from './generator.js'
import { Mutator, type MutatorOptions, readRequest } from './mutator.js'
import { recordedNames, recordTraffic } from './recorder.js'

const test = suite('faults/hostile/decoders')
const known = {
  topics: [...recordedNames.topics, ...recordedNames.sideTopics],
  groups: recordedNames.groups,
  topicIds: [1, 2, 3],
  partitionsMax: 3,
}

test('generated bodies without extremes fit the shapes of their commands', (context) => {
  const random = context.random()
  const generator = new BodyGenerator(random, known)
  for (const command of Object.values(commands)) {
    for (let n = 0; n < 200; n++) {
      command.request.read(generator.body(command.request.form, 0), '')
      command.reply.read(generator.body(command.reply.form, 0), '')
    }
  }
})

test(
  'for mutated and generated frames the decoders return a value or a MillraceError',
  async (context) => {
    const broker = await testBroker(context)
    const { requests, replies, topics } = await recordTraffic(context, broker.address.port)
    const names = { ...known, topicIds: topics.map(({ topicId }) => topicId) }
    const random = context.random()
    const kinds = new Map<string, number>()
    let accepted = 0
    const frames = 10_000
    for (const [side, samples] of [
      ['request', requests],
      ['reply', replies],
    ] as const) {
      const mutator = new Mutator({ random, samples, known: names, side, roughShare: 0.5, bombShare: 0.001 })
      for (let n = 0; n < frames; n++) {
        const { bytes, kind } = mutator.next()
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
        const outcome = tryDecoders(bytes, random.int(0, bytes.length), n % 50 === 0)
        assert.is(outcome.finding, undefined, kind)
        if (outcome.accepted) accepted++
      }
    }
    assert.ok(accepted > frames / 10, `${accepted} were accepted: most frames must get past the first check`)
    assert.ok(kinds.size >= 20, `kinds: ${[...kinds.keys()].join(', ')}`)
  },
  { deadlineMs: 60_000 },
)

test('an error that is no MillraceError is found, with the frame', () => {
  const { read } = commands.ping.request
  const frame = Buffer.from('0d000000020000000100000001000000' + '80', 'hex')
  assert.equal(decodeBody(partsOf(frame).body), {})
  assert.is(tryDecoders(frame, 5, false).finding, undefined)
  const shape = commands.ping.request as { read: typeof read }
  shape.read = () => {
    throw new RangeError('planted')
  }
  try {
    const { finding } = tryDecoders(frame, 5, false)
    assert.is(finding?.check, 'decoder-threw')
    assert.match(finding?.evidence ?? '', /planted[\s\S]*frame: 0d0000000200/)
  } finally {
    shape.read = read
  }
})

test('one seed and one recording produce the same frames', async (context) => {
  const broker = await testBroker(context)
  const { requests } = await recordTraffic(context, broker.address.port)
  const options = { samples: requests, known, side: 'request', roughShare: 0.2, bombShare: 0 } as const
  const framesOf = (given: MutatorOptions): string[] => {
    const mutator = new Mutator(given)
    return Array.from({ length: 500 }, () => mutator.next()).map(({ bytes, kind }) =>
      kind === 'generated batch' ? kind : bytes.toString('hex'),
    )
  }
  const seed = context.random().uint32()
  const first = framesOf({ ...options, random: new Random(seed) })
  assert.equal(framesOf({ ...options, random: new Random(seed) }), first)
  assert.not.equal(framesOf({ ...options, random: new Random(seed + 1) }), first)
})

test('mutations that end a connection are distinguished from the others', () => {
  const ping = Buffer.from('0d00000002000000010000000100000080', 'hex')
  assert.equal(readRequest(ping), { command: 2, body: {} })
  for (const [at, byte] of [
    [0, 0x0e],
    [6, 1],
    [12, 9],
    [16, 0xc1],
  ] as const) {
    const changed = Buffer.from(ping)
    changed[at] = byte
    assert.is(readRequest(changed), undefined, `byte ${at} set to ${byte}`)
  }
})

test.run()
