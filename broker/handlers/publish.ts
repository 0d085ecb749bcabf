import {
  type BatchHeader,
  checkBatchForStorage,
  type commands,
  MillraceError,
  type ReplyOf,
  type RequestOf,
} from '../../protocol/index.js'
import type { Op } from '../../storage/index.js'
import type { BrokerContext } from '../context.js'
import type { Partition } from '../partition/partition.js'
import type { PendingBatch, PendingCommit } from '../partition/producers.js'
import { EntryErrors } from './entry_errors.js'
import type { Handler } from './handler.js'

type PublishRequest = RequestOf<typeof commands.publish>
type PublishReply = ReplyOf<typeof commands.publish>
type BatchResult = PublishReply['results'][number]

const producerInit: Handler<typeof commands.producerInit> = ({ broker }) => ({
  body: { producerId: broker.shard.uniqueId() },
})

/**
 * Everything up to the commit happens in one go, so the batches of a connection are appended in the order in which they
 * came. Batches that are refused don't stop the others.
 */
const publish: Handler<typeof commands.publish> = ({ broker }, request, payload) => {
  if (broker.draining) throw new MillraceError('DRAINING')
  checkSizes(request, payload)
  const append = new PublishAppend(broker, request.batches.length)
  let at = 0
  for (const [index, [topicId, partition, bytes]] of request.batches.entries()) {
    append.add(index, topicId, partition, payload.subarray(at, at + bytes))
    at += bytes
  }
  return append.commit()
}

export const publishHandlers = { producerInit, publish }

function checkSizes({ batches }: PublishRequest, payload: Uint8Array): void {
  let bytes = 0
  for (const batch of batches) bytes += batch[2]
  if (bytes !== payload.length) {
    throw new MillraceError(
      'BAD_REQUEST',
      `the batches are said to have ${bytes} bytes together, the payload has ${payload.length}`,
    )
  }
}

interface Accepted {
  readonly resultIndex: number
  readonly recordCount: number
  readonly pending: PendingBatch | undefined
  readonly partition: Partition
  baseOffset: number
}

/** The batches of one publish request on their way into one commit. */
class PublishAppend {
  readonly #broker: BrokerContext
  readonly #results: BatchResult[]
  readonly #ops: Op[] = []
  /** One for each op. */
  readonly #accepted: Accepted[] = []
  /** Repeats of batches that other requests still commit. */
  readonly #repeats: { readonly resultIndex: number; readonly of: PendingBatch }[] = []
  readonly #commit: PendingCommit = { committed: Promise.resolve() }
  readonly #latestMs: number
  readonly #errors: EntryErrors
  #bytes = 0
  #records = 0

  constructor(broker: BrokerContext, count: number) {
    this.#broker = broker
    this.#latestMs = broker.clock.latestMs + broker.settings.timestampAheadMsMax
    this.#results = new Array(count)
    this.#errors = new EntryErrors(broker.logger)
  }

  add(resultIndex: number, topicId: number, index: number, batch: Uint8Array): void {
    try {
      const partition = this.#broker.shard.partition(topicId, index)
      const header = checkBatchForStorage(batch, partition.topic.settings.batchBytesMax)
      this.#checkTimestamp(header)
      if (header.producerId === 0) this.#accept(resultIndex, partition, batch, header, undefined)
      else this.#addIdempotent(resultIndex, partition, batch, header)
    } catch (error) {
      this.#results[resultIndex] = this.#errors.fields(error)
    }
  }

  async commit(): Promise<{ body: PublishReply }> {
    if (this.#ops.length > 0) await this.#commitAccepted()
    for (const { resultIndex, of } of this.#repeats) {
      try {
        await of.commit.committed
        this.#results[resultIndex] = { error: 0, baseOffset: of.baseOffset }
      } catch (error) {
        this.#results[resultIndex] = this.#errors.fields(error)
      }
    }
    return { body: { results: this.#results } }
  }

  async #commitAccepted(): Promise<void> {
    let wasTaken = false
    const committed = this.#broker.shard.commit(this.#ops, (index, baseOffset) => {
      wasTaken = true
      const accepted = this.#accepted[index] as Accepted
      accepted.baseOffset = baseOffset
      if (accepted.pending !== undefined) accepted.pending.baseOffset = baseOffset
    })
    this.#commit.committed = committed
    if (!wasTaken)
      for (const { partition, pending } of this.#accepted) {
        if (pending !== undefined) partition.producers.withdraw(pending)
      }
    try {
      await committed
      for (const { resultIndex, baseOffset } of this.#accepted) {
        this.#results[resultIndex] = { error: 0, baseOffset }
      }
      this.#broker.metrics.publishedBytes += this.#bytes
      this.#broker.metrics.publishedRecords += this.#records
    } catch (error) {
      for (const { resultIndex } of this.#accepted) this.#results[resultIndex] = this.#errors.fields(error)
    }
  }

  #addIdempotent(resultIndex: number, partition: Partition, batch: Uint8Array, header: BatchHeader): void {
    const { producers } = partition
    const verdict = producers.check(header)
    switch (verdict.kind) {
      case 'append': {
        const pending = producers.accept(header, this.#commit)
        this.#broker.shard.producers.hasPending(producers)
        this.#accept(resultIndex, partition, batch, header, pending)
        return
      }
      case 'duplicate':
        if (verdict.pending !== undefined) this.#repeats.push({ resultIndex, of: verdict.pending })
        else this.#results[resultIndex] = { error: 0, baseOffset: verdict.batch.baseOffset }
        return
      case 'forgotten':
        this.#results[resultIndex] = { error: 0 }
        return
      case 'fenced':
        throw new MillraceError(
          'PRODUCER_FENCED',
          `producer ${header.producerId} publishes under epoch ${verdict.epoch} by now, this batch has ${header.producerEpoch}`,
        )
      case 'gap':
        throw new MillraceError(
          'OUT_OF_ORDER_SEQUENCE',
          `producer ${header.producerId}: expected sequence ${verdict.expected} in partition ${partition.index} of "${partition.topic.name}", got ${header.baseSequence}`,
        )
    }
  }

  #accept(
    resultIndex: number,
    partition: Partition,
    batch: Uint8Array,
    { recordCount }: BatchHeader,
    pending: PendingBatch | undefined,
  ): void {
    this.#ops.push({ log: partition.log, batch })
    this.#accepted.push({ resultIndex, partition, recordCount, pending, baseOffset: -1 })
    this.#bytes += batch.length
    this.#records += recordCount
  }

  /** A record from the future would keep its whole batch from ageing. */
  #checkTimestamp({ lastTimestamp }: BatchHeader): void {
    if (lastTimestamp <= this.#latestMs) return
    throw new MillraceError(
      'BAD_BATCH',
      `a record has timestamp ${lastTimestamp}, more than ${this.#broker.settings.timestampAheadMsMax} ms ahead of the broker's clock`,
    )
  }
}
