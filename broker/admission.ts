import {
  type BatchHeader,
  batchHeaderBytes,
  bytesText,
  checkBatchForStorage,
  durationText,
  MillraceError,
  timeText,
} from '../protocol/index.js'
import type { Partition } from './partition/partition.js'
import type { PendingBatch, PendingCommit } from './partition/producers.js'
import type { ProducersView } from './partition/producers_view.js'
import type { Topic } from './topics/topic.js'

/** Size of the timestamp of a record in a batch, bytes. */
export const timestampBytesMax = 8

/** Returns the largest possible size of a batch with only this record, in bytes. */
export function loneBytesMax(body: Uint8Array): number {
  return batchHeaderBytes + timestampBytesMax + body.length
}

export interface AdmissionRules {
  readonly clock: { readonly latestMs: number }
  readonly timestampAheadMsMax: number
  readonly producers: Pick<ProducersView, 'hasPending'>
}

/** The result for a batch that nothing is wrong with. */
export type Admitted =
  /** The caller appends the batch. `pending` belongs to an idempotent producer. */
  | { readonly kind: 'append'; readonly header: BatchHeader; readonly pending: PendingBatch | undefined }
  /** Another request is committing the same batch. */
  | { readonly kind: 'pending'; readonly of: PendingBatch }
  /** The same batch is in the log; the offset is missing if the broker forgot it. */
  | { readonly kind: 'stored'; readonly baseOffset?: number }

/**
 * Admits data to the logs. Every path goes through it before a commit: `publish`, `publish.each`, transactions, dead
 * letters, schedules and delayed messages. So no path accepts what another one refuses.
 *
 * Delayed messages and schedules pass when the broker accepts them. The broker does not check them again when they are
 * due, because it has acknowledged them: a topic limit that was lowered in the meantime does not drop them.
 */
export class Admission {
  readonly #rules: AdmissionRules

  constructor(rules: AdmissionRules) {
    this.#rules = rules
  }

  /** Reads the clock once, for all batches and records of one request. */
  gate(): Gate {
    return new Gate(this.#rules)
  }
}

/** The admission of one request. */
export class Gate {
  readonly #rules: AdmissionRules
  /** Latest possible time now, ms since 1970. */
  readonly latestMs: number

  constructor(rules: AdmissionRules) {
    this.#rules = rules
    this.latestMs = rules.clock.latestMs
  }

  /**
   * Checks a sealed batch: size, checksum, records, timestamps, and the sequence of its producer.
   * @param commit the commit that the batch becomes a part of; undefined where no producer is allowed
   * @param bytesMax largest size of the batch
   * @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE, PRODUCER_FENCED, OUT_OF_ORDER_SEQUENCE
   */
  batch(
    partition: Partition,
    batch: Uint8Array,
    commit: PendingCommit | undefined,
    bytesMax: number = partition.topic.settings.batchBytesMax,
  ): Admitted {
    const header = checkBatchForStorage(batch, bytesMax)
    this.#checkTimestamp(header.lastTimestamp)
    if (header.producerId === 0) return { kind: 'append', header, pending: undefined }
    if (commit === undefined)
      throw new MillraceError('BAD_BATCH', `the batch has producerId ${header.producerId}, expected 0`)
    return this.#idempotent(partition, header, commit)
  }

  /**
   * Checks a record that the broker seals into a batch itself.
   * @param body the record without its timestamp, see `RecordBody`
   * @param timestamp ms since 1970; undefined for one that gets the time of its delivery
   * @param bytesMax largest size of a batch with only this record
   * @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE
   */
  record(
    { name, settings }: Topic,
    body: Uint8Array,
    timestamp: number | undefined,
    bytesMax: number = settings.batchBytesMax,
  ): void {
    const bytes = loneBytesMax(body)
    const allowed = Math.min(bytesMax, settings.batchBytesMax)
    if (bytes > allowed) {
      throw new MillraceError(
        'BATCH_TOO_LARGE',
        `the message has up to ${bytesText(bytes)}, expected at most ${bytesText(allowed)} in topic "${name}"`,
      )
    }
    if (timestamp !== undefined) this.#checkTimestamp(timestamp)
  }

  /** A record from the future keeps its whole batch from ageing. */
  #checkTimestamp(timestamp: number): void {
    const { timestampAheadMsMax } = this.#rules
    if (timestamp >= 0 && timestamp <= this.latestMs + timestampAheadMsMax) return
    throw new MillraceError(
      'BAD_BATCH',
      timestamp < 0
        ? `a record has timestamp ${timestamp}, expected ms since 1970`
        : `a record has the timestamp ${timeText(timestamp)}, more than ${durationText(timestampAheadMsMax)} ahead of the broker's clock`,
    )
  }

  #idempotent({ producers, index, topic }: Partition, header: BatchHeader, commit: PendingCommit): Admitted {
    const verdict = producers.check(header)
    switch (verdict.kind) {
      case 'append': {
        const pending = producers.accept(header, commit)
        this.#rules.producers.hasPending(producers)
        return { kind: 'append', header, pending }
      }
      case 'duplicate':
        return verdict.pending === undefined
          ? { kind: 'stored', baseOffset: verdict.batch.baseOffset }
          : { kind: 'pending', of: verdict.pending }
      case 'forgotten':
        return { kind: 'stored' }
      case 'fenced':
        throw new MillraceError(
          'PRODUCER_FENCED',
          `producer ${header.producerId} now has epoch ${verdict.epoch}, this batch has epoch ${header.producerEpoch}`,
        )
      case 'gap':
        throw new MillraceError(
          'OUT_OF_ORDER_SEQUENCE',
          `producer ${header.producerId}: expected sequence ${verdict.expected} in partition ${index} of "${topic.name}", got ${header.baseSequence}`,
        )
    }
  }
}
