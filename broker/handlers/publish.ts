import {
  type BatchHeader,
  type commands,
  MillraceError,
  type ReplyOf,
  type RequestOf,
} from '../../protocol/index.js'
import type { Op } from '../../storage/index.js'
import type { Gate } from '../admission.js'
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
 * Everything up to the commit runs synchronously, so that the batches of a connection are appended in order of arrival.
 * A refused batch does not affect the others.
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
      `the sizes of the batches add up to ${bytes} bytes, but the payload has ${payload.length}`,
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

/** The batches of one publish request that become one commit. */
class PublishAppend {
  readonly #broker: BrokerContext
  readonly #results: BatchResult[]
  readonly #ops: Op[] = []
  /** One for each op. */
  readonly #accepted: Accepted[] = []
  /** Repeats of batches that other requests are still committing. */
  readonly #repeats: { readonly resultIndex: number; readonly of: PendingBatch }[] = []
  readonly #commit: PendingCommit = { committed: Promise.resolve() }
  readonly #gate: Gate
  readonly #errors: EntryErrors
  #bytes = 0
  #records = 0

  constructor(broker: BrokerContext, count: number) {
    this.#broker = broker
    this.#gate = broker.admission.gate()
    this.#results = new Array(count)
    this.#errors = new EntryErrors(broker.logger)
  }

  add(resultIndex: number, topicId: number, index: number, batch: Uint8Array): void {
    try {
      const partition = this.#broker.shard.partition(topicId, index)
      const admitted = this.#gate.batch(partition, batch, this.#commit)
      if (admitted.kind === 'append')
        this.#accept(resultIndex, partition, batch, admitted.header, admitted.pending)
      else if (admitted.kind === 'pending') this.#repeats.push({ resultIndex, of: admitted.of })
      else this.#results[resultIndex] = storedResult(admitted.baseOffset)
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
}

function storedResult(baseOffset: number | undefined): BatchResult {
  return baseOffset === undefined ? { error: 0 } : { error: 0, baseOffset }
}
