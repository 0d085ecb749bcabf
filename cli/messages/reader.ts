import {
  bytes,
  type Client,
  type ConsumeOptions,
  type DecodeError,
  defineTopic,
  type Message,
  type StartPosition,
} from '../../client/index.js'
import { startsBehindEnd, tellIfPaused } from './start.js'
import { type StopPosition, Stops } from './stops.js'

export interface ReadOptions {
  readonly group?: string | undefined
  readonly from: StartPosition
  /** Requires a single topic. */
  readonly partitions?: readonly number[] | undefined
  /** Wait for more messages at the end. */
  readonly follow: boolean
  /** Stop before this position. Requires no group. */
  readonly until?: StopPosition | undefined
  /** Start at these offsets instead of `from`: by topic, then by partition. Requires no group. */
  readonly starts?: ReadonlyMap<string, readonly number[]> | undefined
  readonly signal: AbortSignal
  readonly hooks: Pick<ConsumeOptions, 'onSkipped' | 'onError'>
}

const messagesMax = 1_000

/**
 * Reads topics, and yields consecutive messages of one partition. It skips batches that cannot be opened, and reports
 * them on stderr.
 * @throws MillraceError UNKNOWN_TOPIC and every error of a consumer
 */
export async function* readMessages(
  client: Client,
  topics: readonly string[],
  options: ReadOptions,
): AsyncGenerator<readonly Message<Uint8Array | null, Uint8Array>[]> {
  const { group, from, partitions, follow, until, signal, hooks } = options
  // A consumer would wait for a topic that does not exist.
  for (const topic of topics) await client.topics.describe(topic, { signal })
  const given = options.starts
  const behind =
    given === undefined && group === undefined
      ? await startsBehindEnd(client, topics, from, { partitions, follow, signal })
      : undefined
  const starts = given ?? behind
  let stops: Stops | undefined
  let isClosing = false
  // Keys and values stay bytes: the topics may hold anything.
  const raw = topics.map((topic) => defineTopic(topic, { key: bytes, tombstones: true }))
  const consumer = client.consume(raw, {
    group,
    from: starts === undefined ? from : 'latest',
    partitions,
    until: follow || until !== undefined ? undefined : 'end',
    signal,
    ...hooks,
    onSkipped: (skipped) => {
      hooks.onSkipped?.(skipped)
      stops?.skipped(skipped, skipped.toOffset)
    },
    onRevoked: () => {
      if (group === undefined || !follow || isClosing || signal.aborted) return
      tellIfPaused(client, group, follow, signal).catch((error: unknown) => {
        if (!isClosing && !signal.aborted) hooks.onError?.(error)
      })
    },
    onDecodeError: (error, skipped) => {
      if (error.part !== 'batch') return 'throw'
      tellUnreadable(error)
      stops?.skipped(skipped, error.endOffset)
      return 'skip'
    },
  })
  try {
    if (starts !== undefined || until !== undefined || group !== undefined) await consumer.start()
    if (group !== undefined) await tellIfPaused(client, group, follow, signal)
    for (const { topic, partition } of starts === undefined ? [] : consumer.assignment) {
      const offset = starts?.get(topic)?.[partition]
      if (offset !== undefined) await consumer.seek({ topic, partition, offset })
    }
    if (until !== undefined) {
      stops = new Stops(client, consumer, topics, until, follow)
      await stops.start()
    }
    for await (const { messages } of consumer.batches({ messagesMax })) {
      const taken = stops?.take(messages) ?? messages
      const wanted = behind === undefined ? taken : taken.filter(({ offset }) => offset >= Number(from))
      if (wanted.length > 0) yield wanted
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    isClosing = true
    stops?.close()
    await consumer.close()
  }
}

function tellUnreadable({ message, endOffset }: DecodeError): void {
  process.stderr.write(`millrace: ${message}; continuing at ${endOffset}\n`)
}
