import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { bytes, type Client, defineTopic, type MessageInput } from '../../client/index.js'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { freshSeed, Random } from '../helpers/random.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli/export_import')

type Input = MessageInput<Uint8Array | null, Uint8Array>

/** Text with quotes, control characters, line ends, surrogate pairs and a byte order mark. */
const characters = ['a', 'é', '"', '\\', '\n', '\r', '\0', '\u001f', '\u2028', '😀', '\ufeff', '{', '}', ' ']

function randomBytes(random: Random, lengthMax: number): Uint8Array {
  const length = random.int(0, lengthMax)
  if (random.chance(0.5)) return Buffer.from(Array.from({ length }, () => random.pick(characters)).join(''))
  return Buffer.from(Array.from({ length }, () => random.int(0, 255)))
}

function randomMessage(random: Random, partitions: number): Input {
  const names = ['a', '__proto__', 'constructor', 'é\n', 'millrace-priority', '']
  const headers = Object.fromEntries(
    names
      .filter(() => random.chance(0.3))
      .map((name) => [name, name === 'millrace-priority' ? '9' : randomBytes(random, 20)]),
  )
  return {
    key: random.chance(0.3) ? null : randomBytes(random, 10),
    value: random.chance(0.2) ? null : randomBytes(random, 60),
    headers,
    partition: random.int(0, partitions - 1),
    timestamp: random.int(0, Date.now()),
  }
}

/** Everything in a topic, as text that tells all bytes apart. */
async function contentsOf(client: Client, topic: string): Promise<string[][]> {
  const found: string[][] = []
  const consumer = client.consume(defineTopic(topic, { key: bytes, tombstones: true }), {
    from: 'earliest',
    until: 'end',
  })
  for await (const { partition, offset, timestamp, keyBytes, valueBytes, headerBytes } of consumer) {
    const hex = (some: Uint8Array | undefined): string =>
      some === undefined ? '-' : Buffer.from(some).toString('hex')
    const headers = Object.entries(headerBytes).map(
      ([name, value]) => `${Buffer.from(name).toString('hex')}=${hex(value)}`,
    )
    found[partition] ??= []
    found[partition].push(
      [offset, timestamp, hex(keyBytes), hex(valueBytes), headers.sort().join()].join(' '),
    )
  }
  return found
}

test(
  'import restores the output of export:  keys, headers, values, timestamps, partitions and tombstones',
  async (context) => {
    const random = new Random(freshSeed())
    const [from, to] = [await brokerFor(context), await brokerFor(context)]
    const [source, target] = [await clientFor(context, from), await clientFor(context, to)]
    for (const [name, partitions] of [
      ['one', 3],
      ['two', 1],
    ] as const) {
      await source.topics.create(name, { partitions, retention: { time: 'forever' } })
      const messages = Array.from({ length: 300 }, () => randomMessage(random, partitions))
      await source.publishMany(defineTopic(name, { key: bytes, tombstones: true }), messages)
    }
    await source.topics.create('empty', {
      partitions: 4,
      retention: { time: '3d', bytes: '1GB' },
      dedupeWindow: 0,
    })
    const dir = await context.tempDir()
    for (const file of [join(dir, 'all.jsonl'), join(dir, 'all.jsonl.gz')]) {
      assert.match(
        ok(await run(context, ['export', 'one', 'two', 'empty', '--out', file, ...from])),
        'exported 600 messages',
      )
      const imported = await run(context, ['import', file, ...to])
      assert.match(ok(imported), 'imported 600 messages to "one", "two"')
      assert.match(imported.stderr, /created topic "empty" with 4 partitions/)
      for (const name of ['one', 'two']) {
        assert.equal(await contentsOf(target, name), await contentsOf(source, name), `seed ${random.seed}`)
      }
      const settingsOf = async (client: Client) => (await client.topics.describe('empty')).topic.settings
      assert.equal(await settingsOf(target), await settingsOf(source))
      for (const name of ['one', 'two', 'empty']) await target.topics.delete(name)
    }
    assert.equal((await readdir(dir)).sort(), ['all.jsonl', 'all.jsonl.gz'])
    assert.equal(await readFile(join(dir, 'all.jsonl'), 'utf8').then((text) => text.split('\n').length), 604)
  },
  { deadlineMs: 60_000 },
)

test('import reads the output of consume --format json into a topic with another name and partitions', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  await client.topics.create('t', { partitions: 2 })
  await client.topics.create('u')
  for (const key of ['a', 'b', 'c', 'd']) await client.publish('t', { key, value: Buffer.from(`of ${key}`) })
  const json = ok(await run(context, ['consume', 't', '--json', ...server]))
  const narrow = await run(context, ['import', '--topic', 'u', ...server], json)
  assert.is(narrow.code, 1)
  assert.match(narrow.stderr, /has no partition 1, expected 0/)
  const imported = await run(context, ['import', '--topic', 'v', '--repartition', ...server], json)
  assert.match(imported.stderr, /no topic "v"/)
  await client.topics.create('v')
  assert.match(
    ok(await run(context, ['import', '--topic', 'v', '--repartition', ...server], json)),
    /imported 4 messages/,
  )
  const found = ok(await run(context, ['consume', 'v', '--output', '%k %v', ...server]))
  assert.equal(found.split('\n').sort(), ['', 'a of a', 'b of b', 'c of c', 'd of d'])
})

test(
  'import names the wrong line and field, and reports how many messages were published before it',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('t')
    const good = '{"topic":"t","value":"x"}\n'
    const cases: [string, RegExp][] = [
      ['nonsense', /line 2: it is not JSON/],
      ['[1]', /line 2: the line is a list, expected an object/],
      ['{"topic":"t"}', /line 2: the field "value" is missing/],
      ['{"topic":"t","value":1}', /line 2: "value" is a number, expected text or { "base64": … }/],
      ['{"topic":"t","value":{"base64":"%"}}', /line 2: "value" is not valid base64/],
      ['{"topic":"t","value":"\\ud800"}', /line 2: "value" contains half of a surrogate pair/],
      [
        '{"topic":"t","value":"x","partiton":0}',
        /line 2: there is no field "partiton"; did you mean "partition"/,
      ],
      ['{"topic":"t","value":"x","headers":{"a":1}}', /line 2: the header "a" is a number/],
      [
        '{"topic":"t","value":"x","timestamp":-1}',
        /line 2: "timestamp" is -1, expected a whole number from 0/,
      ],
      ['{"value":"x"}', /line 2: the field "topic" is missing; name one with --topic/],
      [
        '{"topic":"t","partitions":3}',
        /topic "t" has 1 partitions, and the exported one 3: add some with "millrace topic alter t --partitions 3", or use --repartition/,
      ],
    ]
    for (const [line, message] of cases) {
      const ran = await run(context, ['import', ...server], `${good}${line}\n`)
      assert.is(ran.code, 1, line)
      assert.match(ran.stderr, message)
      assert.match(ran.stderr, '1 message published before the failure')
    }
    const two = '{"topic":"a","value":"x"}\n{"topic":"b","value":"x"}\n'
    const mixed = await run(context, ['import', '--topic', 't', ...server], two)
    assert.is(mixed.code, 2)
    assert.match(
      mixed.stderr,
      /--topic works with the messages of one topic; line 2 is of "b", lines before it are of "a"/,
    )
    const old = await run(context, ['import', ...server], '{"topic":"t","value":"x","timestamp":5}\n')
    assert.match(old.stderr, /1 message of topic "t" are older than its retention of 7 d/)
  },
  { deadlineMs: 60_000 },
)

test(
  'export replaces a file only with --force, and Ctrl-C on an import publishes the lines that were read',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('t')
    const file = join(await context.tempDir(), 'file')
    ok(await run(context, ['export', 't', '-o', file, ...server]))
    const again = await run(context, ['export', 't', '-o', file, ...server])
    assert.is(again.code, 2)
    assert.match(again.stderr, /exists; choose another file, or replace it with --force/)
    ok(await run(context, ['export', 't', '-o', file, '--force', ...server]))
    const importer = spawnMillrace(context, ['import', '--json', ...server])
    importer.stdin.write('{"topic":"t","value":"one"}\n{"topic":"t","val')
    await waitFor('one to be published', async () => (await client.topics.offsets('t', 'latest'))[0] === 1, {
      deadlineMs: 20_000,
    })
    importer.kill('SIGINT')
    assert.equal(await importer.exited, { code: 130, signal: null })
    assert.equal(JSON.parse(importer.output.stdout), { count: 1, topics: { t: 1 } })
  },
  { deadlineMs: 30_000 },
)

test(
  'export names what keeps a file from being written, and ends like every program when its reader does',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('t')
    const value = Buffer.alloc(500, 'x')
    await client.publishMany(
      't',
      Array.from({ length: 5_000 }, () => ({ value })),
    )
    const missing = join(await context.tempDir(), 'none')
    const ran = await run(context, ['export', 't', '--out', join(missing, 'file'), ...server])
    assert.is(ran.code, 1)
    assert.is(
      ran.stderr,
      `millrace: can't write "${join(missing, 'file')}": there is no folder "${missing}"\n`,
    )
    const file = join(await context.tempDir(), 'file')
    ok(await run(context, ['export', 't', '--out', file, ...server]))
    const inside = await run(context, ['export', 't', '--out', join(file, 'x'), ...server])
    assert.is(inside.code, 1)
    assert.match(inside.stderr, `can't write "${join(file, 'x')}": "${file}" is not a folder`)
    const backup = await run(context, ['backup', '--to', join(file, 'x'), ...server])
    assert.is(backup.code, 1)
    assert.match(backup.stderr, `can't write "${join(file, 'x')}": "${file}" is not a folder`)
    ok(await run(context, ['backup', '--to', join(await context.tempDir(), 'x'), ...server]))
    const exporter = spawnMillrace(context, ['export', 't', ...server])
    await exporter.waitForOutput('stdout', /"topic":"t"/)
    exporter.closeOutput()
    assert.equal(await exporter.exited, { code: 141, signal: null })
    assert.is(exporter.output.stderr, '')
    const all = await run(context, ['export', 't', ...server])
    assert.is(all.stdout.split('\n').length, 5_002)
    assert.is(all.stderr, 'exported 5000 messages\n')
  },
  { deadlineMs: 60_000 },
)

test.run()
