import { type JetStreamClient, jetstream } from '@nats-io/jetstream'
import { startFastIngest } from '@nats-io/jetstream/internal'
import type { NatsConnection } from '@nats-io/transport-node'
import { type PeerPublisher, servePublisher } from '../../lib/publisher.js'
import { openStream } from './streams.js'

/** After how many messages fast ingest is acknowledged. A server that syncs each of them has no use for more of them. */
const ackIntervals = { default: 500, fsync: 20 } as const
/** How many of those intervals may be unacknowledged: the client's most. */
const maxOutstandingAcks = 3
/** For each message published by itself: long enough to show how late a server is that can't keep up. */
const timeout = 60_000
const windowMessages = 100
const windowsMax = 4

await servePublisher(async (options): Promise<PeerPublisher> => {
  const { topic, durability } = options
  const { connection, fastIngest, close } = await openStream(options)
  const client = jetstream(connection)
  return {
    publishBulk: (value, acknowledged, signal) => {
      const bulk = { topic, value, acknowledged, signal, ackInterval: ackIntervals[durability] }
      return fastIngest ? publishBatch(connection, bulk) : publishWindows(client, bulk)
    },
    publish: (value) => client.publish(topic, value, { timeout }),
    close,
  }
})

interface Bulk {
  readonly topic: string
  readonly value: Buffer
  readonly acknowledged: (messages: number) => void
  readonly signal: AbortSignal
  readonly ackInterval: number
}

/** One batch of fast ingest: its messages are stored one by one, and acknowledged in intervals. */
async function publishBatch(
  connection: NatsConnection,
  { topic, value, acknowledged, signal, ackInterval }: Bulk,
): Promise<void> {
  const options = { ackInterval, maxOutstandingAcks, allowGaps: false }
  const batch = await startFastIngest(connection, topic, value, options)
  let counted = 0
  const count = (stored: number): void => {
    acknowledged(stored - counted)
    counted = stored
  }
  while (!signal.aborted) count((await batch.add(topic, value)).ackSeq)
  count((await batch.end()).count)
}

/** Windows of messages, each acknowledged by itself. */
async function publishWindows(
  client: JetStreamClient,
  { topic, value, acknowledged, signal }: Bulk,
): Promise<void> {
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      await Promise.all(Array.from({ length: windowMessages }, () => client.publish(topic, value)))
      acknowledged(windowMessages)
    }
  }
  await Promise.all(Array.from({ length: windowsMax }, run))
}
