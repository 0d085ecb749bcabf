import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, type Consumer, isMillraceError, type Topic } from '../../../client/index.js'
import { Random } from '../../helpers/random.js'
import { type HistoryWriter, monotonicUs, type PartitionName } from '../history/history.js'
import type { SizedValue } from './values.js'
import type { WorkloadContext } from './workload.js'

const commitEveryBatches = 3

/**
 * A member of a group that lives for a while, leaves or dies with its connection, and comes again under another name, until the
 * workload stops.
 */
export async function groupMember(
  context: WorkloadContext,
  topic: Topic<SizedValue>,
  group: string,
  name: string,
  { lifeMsMin, lifeMsMax }: { lifeMsMin: number; lifeMsMax: number },
): Promise<void> {
  const { stop } = context
  const random = new Random(context.random.uint32())
  for (let life = 0; !stop.aborted; life++) {
    const client = await context.client()
    const leave = new AbortController()
    const dies = random.chance(0.3)
    const timer = sleep(random.int(lifeMsMin, lifeMsMax), undefined, { signal: leave.signal }).then(
      () => (dies ? client.close({ timeoutMs: 0 }) : leave.abort()),
      () => {},
    )
    try {
      await new Membership(context, client, topic, group, `${name}.${life}`).run(
        AbortSignal.any([stop, leave.signal]),
      )
    } catch (error) {
      if (!isMillraceError(error)) throw error
    } finally {
      leave.abort()
      await timer
      await client.close({ timeoutMs: 0 })
    }
  }
}

/** One life of a member: what it was given, did and committed, as its program saw it. */
class Membership {
  readonly #history: HistoryWriter
  readonly #context: WorkloadContext
  readonly #client: Client
  readonly #topic: Topic<SizedValue>
  readonly #group: string
  readonly #process: string
  /** Epoch by partition. */
  readonly #owned = new Map<number, number | undefined>()
  /** Next offset of the partitions that moved since the last commit. */
  readonly #uncommitted = new Map<number, number>()

  constructor(
    context: WorkloadContext,
    client: Client,
    topic: Topic<SizedValue>,
    group: string,
    process: string,
  ) {
    this.#context = context
    this.#history = context.history
    this.#client = client
    this.#topic = topic
    this.#group = group
    this.#process = process
  }

  async run(signal: AbortSignal): Promise<void> {
    const consumer: Consumer<SizedValue, string> = this.#client.consume(this.#topic, {
      group: this.#group,
      from: 'earliest',
      sessionTimeoutMs: this.#context.sessionTimeoutMs,
      // Commits are made by this program, so that each can be noted.
      commitIntervalMs: 3_600_000,
      fetchWaitMs: 100,
      signal,
      onAssigned: (partitions) => this.#assigned(consumer, partitions),
      onRevoked: (partitions) => this.#revoked(partitions),
    })
    let batches = 0
    try {
      for await (const batch of consumer.batches({ messagesMax: 200 })) {
        const { partition, messages } = batch
        const records = messages.map(({ offset, value }) => [offset, value.id] as const)
        this.#note({ type: 'delivered', partition, records })
        this.#note({ type: 'processed', partition, offsets: records.map(([offset]) => offset) })
        this.#history.flush()
        batch.ack()
        this.#uncommitted.set(partition, batch.lastOffset + 1)
        this.#context.progress(0, records.length)
        if (++batches % commitEveryBatches === 0) await this.#commit(consumer)
      }
    } finally {
      this.#revoked([...this.#owned.keys()].map((partition) => ({ topic: this.#topic.name, partition })))
    }
  }

  async #commit(consumer: Consumer<SizedValue, string>): Promise<void> {
    const calls = [...this.#uncommitted].map(([partition, offset]) => {
      const epoch = this.#owned.get(partition)
      return this.#history.invoke(this.#process, {
        op: 'commit',
        group: this.#group,
        topic: this.#topic.name,
        partition,
        offset,
        ...(epoch === undefined ? {} : { epoch }),
      })
    })
    this.#uncommitted.clear()
    if (calls.length === 0) return
    try {
      await consumer.commit()
      for (const id of calls) this.#history.outcome(this.#process, id, 'ok')
    } catch (error) {
      if (!isMillraceError(error)) throw error
      // One partition that moved fails the commit of all; the others may be committed.
      for (const id of calls) this.#history.outcome(this.#process, id, 'info', { error: error.code })
      if (error.code !== 'FENCED') throw error
    }
  }

  #assigned(consumer: Consumer<SizedValue, string>, partitions: readonly PartitionName[]): void {
    const epochs = new Map(consumer.stats().partitions.map(({ partition, epoch }) => [partition, epoch]))
    for (const name of partitions) {
      // Undefined when the partition has gone again meanwhile.
      const epoch = epochs.get(name.partition)
      this.#owned.set(name.partition, epoch)
      this.#history.write({
        type: 'assigned',
        at: monotonicUs(),
        process: this.#process,
        group: this.#group,
        ...(epoch === undefined ? {} : { epoch }),
        partitions: [name],
      })
    }
  }

  #revoked(partitions: readonly PartitionName[]): void {
    for (const { partition } of partitions) {
      this.#owned.delete(partition)
      this.#uncommitted.delete(partition)
    }
    if (partitions.length === 0) return
    this.#history.write({
      type: 'revoked',
      at: monotonicUs(),
      process: this.#process,
      group: this.#group,
      partitions,
    })
  }

  #note(
    what:
      | { type: 'delivered'; partition: number; records: readonly (readonly [number, string])[] }
      | { type: 'processed'; partition: number; offsets: readonly number[] },
  ): void {
    this.#history.write({
      at: monotonicUs(),
      process: this.#process,
      group: this.#group,
      topic: this.#topic.name,
      ...what,
    })
  }
}
