import * as assert from 'uvu/assert'
import { Admission } from '../../../broker/admission.js'
import { settingsOf } from '../../../broker/config.js'
import { Later, type Schedule } from '../../../broker/later/index.js'
import { defaultLogger } from '../../../broker/log.js'
import { Shard } from '../../../broker/shard.js'
import {
  type commands,
  isMillraceError,
  RecordCursor,
  type RequestOf,
  splitBatches,
} from '../../../protocol/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { batchOf } from '../harness.js'

const test = suite('broker/later/schedule_firing')

type Options = Readonly<Record<string, unknown>>
type Definition = Partial<RequestOf<typeof commands.scheduleSet>> & { readonly value?: string }

const noonMs = Date.UTC(2026, 0, 10, 12)
const minuteMs = 60_000
const everyMinute = '* * * * *'
const everyTwoMinutes = '*/2 * * * *'

/** Schedules of a shard, by a clock that the test sets. They fire only when the test says so. */
class Bench {
  readonly clock = { earliestMs: noonMs + 1, latestMs: noonMs + 1 }
  readonly shard: Shard
  readonly #later: Later

  private constructor(shard: Shard, options: Options) {
    const { clock } = this
    const settings = settingsOf(options)
    const { timestampAheadMsMax } = settings
    this.shard = shard
    this.#later = new Later({
      ...{ shard, clock, settings, logger: defaultLogger('silent') },
      admission: new Admission({ clock, timestampAheadMsMax, producers: { hasPending: () => {} } }),
      metrics: { publishedRecords: 0, publishedBytes: 0 },
    })
  }

  static async open({ defer }: TestContext, options: Options = { engine: 'memory' }): Promise<Bench> {
    const shard = await Shard.open(settingsOf(options))
    defer(() => shard.close())
    return new Bench(shard, options)
  }

  /** Sets the schedule "tick": every minute, with catching up, by default. */
  set({ value = 'old', ...definition }: Definition = {}): Promise<number> {
    const request = { name: 'tick', topic: 'ticks', cron: everyMinute, missed: 'all', ...definition } as const
    return this.#later.scheduleFiring.set(request, batchOf([value]))
  }

  delete(): Promise<void> {
    return this.#later.scheduleFiring.delete('tick')
  }

  fire(): Promise<boolean> {
    return this.#later.scheduleFiring.fire(this.clock.earliestMs)
  }

  /** Moves the clock to some minutes after noon, and a moment. */
  at(minutes: number): void {
    this.clock.earliestMs = noonMs + minutes * minuteMs + 1
    this.clock.latestMs = this.clock.earliestMs
  }

  get schedule(): Schedule | undefined {
    return this.#later.schedules.get('tick')
  }

  /** All messages of the topic: the value and the due time in minutes after noon. */
  async published(): Promise<string[]> {
    const partition = this.shard.catalog.topic('ticks').partitions[0]
    assert.ok(partition)
    const [read] = await this.shard.read([{ log: partition.log, offset: 0, bytesMax: 1_000_000 }])
    const texts: string[] = []
    for (const batch of splitBatches(Buffer.concat(read?.chunks ?? []))) {
      const cursor = new RecordCursor(batch)
      while (cursor.next()) {
        const value = Buffer.from(cursor.records.subarray(cursor.valueStart, cursor.valueEnd)).toString()
        texts.push(`${value} ${(cursor.timestamp - noonMs) / minuteMs}`)
      }
    }
    for (const buffer of read?.memory ?? []) buffer.release()
    return texts
  }
}

async function start(context: TestContext): Promise<Bench> {
  const bench = await Bench.open(context)
  await bench.shard.topics.create({ topic: 'ticks', partitions: 1, settings: {} })
  return bench
}

test('setting the same schedule again loses no due time that is waiting, and doubles none', async (context) => {
  const bench = await start(context)
  assert.is(await bench.set(), noonMs + minuteMs)
  bench.at(3)
  assert.is(await bench.set(), noonMs + 4 * minuteMs)
  await bench.fire()
  assert.equal(await bench.published(), ['old 1', 'old 2', 'old 3'])
  assert.is(bench.schedule?.firedCount, 0)
  bench.at(4)
  await bench.fire()
  await bench.set()
  await bench.fire()
  assert.equal(await bench.published(), ['old 1', 'old 2', 'old 3', 'old 4'])
})

test('a clock that is set back does not double due times of the same schedule', async (context) => {
  const bench = await start(context)
  await bench.set()
  bench.at(2)
  await bench.fire()
  bench.clock.earliestMs = noonMs + 2 * minuteMs - 1
  assert.is(await bench.set(), noonMs + 3 * minuteMs)
  bench.at(2)
  await bench.fire()
  assert.equal(await bench.published(), ['old 1', 'old 2'])
})

for (const [name, change] of [
  ['other times', { cron: everyTwoMinutes }],
  ['another time zone', { cron: everyTwoMinutes, timeZone: 'Asia/Kolkata' }],
  ['another message', {}],
] as const) {
  test(`what is due when a schedule gets ${name} has the old message, the rest the new one`, async (context) => {
    const bench = await start(context)
    await bench.set({ cron: everyTwoMinutes, timeZone: 'UTC' })
    bench.at(4)
    await bench.set({ ...{ cron: everyTwoMinutes, value: 'new' }, ...change })
    bench.at(6)
    await bench.fire()
    assert.equal(await bench.published(), ['old 2', 'old 4', 'new 6'])
  })
}

for (const [missed, expected] of [
  ['all', ['old 1', 'old 2', 'old 3']],
  ['once', ['old 2', 'old 3']],
  ['skip', ['old 3']],
] as const) {
  test(`the policy "${missed}" of the replaced schedule decides about its missed due times`, async (context) => {
    const bench = await start(context)
    await bench.set({ missed })
    bench.at(3)
    await bench.set({ cron: '0 13 * * *', value: 'new', missed: missed === 'skip' ? 'all' : 'skip' })
    await bench.fire()
    assert.equal(await bench.published(), expected)
  })
}

test('a refused change leaves what is due to the old schedule', async (context) => {
  const bench = await start(context)
  await bench.set()
  bench.at(1)
  for (const bad of [{ cron: 'never' }, { topic: 'nowhere' }, { partition: 7 }])
    assert.ok(isMillraceError(await bench.set(bad).catch((error: unknown) => error)))
  assert.equal(await bench.published(), [])
  await bench.fire()
  assert.equal(await bench.published(), ['old 1'])
})

test('sets, deletions and the run loop at the same moment publish each due time once', async (context) => {
  const bench = await start(context)
  await bench.set()
  const expected: string[] = []
  for (let minute = 1; minute <= 20; minute++) {
    bench.at(minute)
    expected.push(`old ${minute}`)
    const works: (() => Promise<unknown>)[] = [
      () => bench.set(),
      () => bench.fire(),
      () => bench.set({ missed: 'once' }),
    ]
    if (minute % 3 === 0) works.splice(minute % 4, 0, () => bench.delete())
    const first = works.splice(minute % works.length)
    await Promise.all([...first, ...works].map((work) => work()))
    await bench.set()
  }
  assert.equal(await bench.published(), expected)
})

test('a deleted schedule publishes what is due before it is deleted, and nothing after', async (context) => {
  const bench = await start(context)
  await bench.set()
  bench.at(2)
  await bench.delete()
  bench.at(3)
  await bench.fire()
  assert.is(bench.schedule, undefined)
  assert.equal(await bench.published(), ['old 1', 'old 2'])
})

test('a low disk does not prevent the deletion of a schedule that is due', async (context) => {
  const dir = await context.tempDir()
  const before = await Bench.open(context, { dir })
  await before.shard.topics.create({ topic: 'ticks', partitions: 1, settings: {} })
  await before.set()
  await before.shard.close()
  const bench = await Bench.open(context, { dir, diskFreeBytesMin: Number.MAX_SAFE_INTEGER })
  bench.at(1)
  const refused = await bench.fire().catch((error: unknown) => error)
  assert.ok(isMillraceError(refused, 'STORAGE_FULL'))
  await bench.delete()
  assert.is(bench.schedule, undefined)
  assert.equal(await bench.published(), [])
})

test('what was due while the broker was down is published, also if the schedule is set first', async (context) => {
  const dir = await context.tempDir()
  const before = await Bench.open(context, { dir })
  await before.shard.topics.create({ topic: 'ticks', partitions: 1, settings: {} })
  await before.set()
  await before.shard.close()
  const bench = await Bench.open(context, { dir })
  bench.at(2)
  await bench.set()
  await bench.fire()
  assert.equal(await bench.published(), ['old 1', 'old 2'])
})

test.run()
