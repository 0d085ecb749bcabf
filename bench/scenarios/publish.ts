import { type BenchContext, type Scenario, shapeName, sizeName, throughputDetails } from '../lib/scenario.js'
import { type PublishShape, runPublish } from '../sdk/sdk.js'

interface Case extends PublishShape {
  readonly messageBytes: number
  /** The changed parameter; undefined for the base itself. */
  readonly what?: string
  /** Also part of a quick run. */
  readonly isQuick?: true
}

const keys = 100_000

/** One value again and again, 8 partitions, no keys, one client, no compression. */
const sizes: readonly Case[] = [
  { messageBytes: 100, isQuick: true },
  { messageBytes: 1024 },
  { messageBytes: 16 * 1024 },
  { messageBytes: 1024 * 1024, isQuick: true },
]

function keyed(partitions: number, messageBytes: number): Case {
  return {
    messageBytes,
    partitions,
    data: { kind: 'repeated', messageBytes, keys },
    what: `keys over ${partitions.toLocaleString('en')} partitions`,
    ...(partitions !== 1_000 && messageBytes === 100 ? { isQuick: true } : {}),
  }
}

function casesOf(sample: string | undefined): readonly Case[] {
  const line = sample === undefined ? 'generated JSON' : 'lines of the sample'
  const lines = (compression: PublishShape['compression'] = 'none'): Case => ({
    messageBytes: 1024,
    data: { kind: 'lines', messageBytes: 1024, ...(sample === undefined ? {} : { sample }) },
    compression,
    ...(compression === 'lz4' ? { isQuick: true } : {}),
    what: `${line}, ${compression === 'none' ? 'no compression' : compression}`,
  })
  return [
    ...sizes,
    { messageBytes: 100, partitions: 1, what: '1 partition' },
    ...[8, 1_000, 10_000].map((partitions) => keyed(partitions, 100)),
    ...[8, 10_000].map((partitions) => keyed(partitions, 1024)),
    { messageBytes: 100, clients: 16, what: '16 clients', isQuick: true },
    { messageBytes: 1024, clients: 16, what: '16 clients' },
    { messageBytes: 1024, data: { kind: 'random', messageBytes: 1024 }, what: 'random bytes' },
    ...(['none', 'lz4', 'gzip', 'brotli'] as const).map(lines),
  ]
}

/**
 * The publish rate without consumers. Each figure changes one parameter of the base, which is one client that sends one
 * value again and again to 8 partitions, without keys and without compression: the size of messages; the partitions,
 * first
 * one, then 8, 1,000 and 10,000 with as many keys in random order, where 8 is the reference; the
 * clients, 16 in one process; the content of messages, and the codec. There is no product of all of these.
 */
export const publishScenario: Scenario = {
  name: 'publish',
  summary: 'publishMany, nobody consumes: sizes, partitions, clients, content',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const keyedRates = new Map<number, number>()
    const cases = casesOf(context.sample).filter(({ isQuick }) => isQuick || !context.quick)
    for (const { what, isQuick, ...work } of cases) {
      const median = await measurePublish(context, work, what)
      if (work.data?.keys === undefined) continue
      const { messageBytes, partitions = 0 } = work
      if (partitions === 8) keyedRates.set(messageBytes, median)
      const few = keyedRates.get(messageBytes) ?? 0
      if (partitions === 10_000 && few > 0) addShare(context, messageBytes, median / few)
    }
  },
}

async function measurePublish(
  context: BenchContext,
  work: Omit<Case, 'what'>,
  what: string | undefined,
): Promise<number> {
  const { dataRoot } = context
  const { messageBytes } = work
  const isBase = what === undefined
  const shape = { messageBytes, promises: false, consume: false }
  // With many partitions it takes a while until each has had its turn.
  const isLong = (isBase && messageBytes <= 1024) || work.data?.keys !== undefined
  const interval = isLong ? context.interval : context.shortInterval
  const name = isBase ? shapeName(shape) : `publish, ${nameOf(work)}${what}`
  const pipe = hasPipe(messageBytes) && isBase ? { pipe: await context.pipe(shape) } : {}
  return context.measure({ name, unit: 'messages/s', better: 'higher', ...pipe }, async () => {
    const throughput = await runPublish({ ...work, dataRoot, ...interval })
    const { messagesPerS, series = [] } = throughput
    return { value: messagesPerS, details: throughputDetails(throughput), series }
  })
}

/** Lines have different sizes. */
function nameOf({ messageBytes, data }: Pick<Case, 'messageBytes' | 'data'>): string {
  return data?.kind === 'lines' ? '' : `${sizeName(messageBytes)}, `
}

/** The pipe's frames end at a few hundred KiB. */
function hasPipe(messageBytes: number): boolean {
  return messageBytes <= 16 * 1024
}

function addShare(context: BenchContext, messageBytes: number, share: number): void {
  context.add({
    name: `publish, ${sizeName(messageBytes)}, 10,000 partitions against 8`,
    unit: 'ratio',
    better: 'higher',
    target: 0.7,
    values: [share],
    details: {},
  })
}
