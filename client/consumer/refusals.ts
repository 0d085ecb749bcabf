import { MillraceError } from '../../protocol/index.js'
import type { BrokerPort } from './broker_port.js'
import { findOffsets } from './offsets.js'
import type { SkippedMessages } from './options.js'
import type { PartitionStream } from './partition_stream.js'

export interface RefusalsOptions {
  readonly port: BrokerPort
  readonly policy: 'earliest' | 'latest' | 'error'
  readonly onSkipped: (skipped: SkippedMessages) => void
  readonly signal: AbortSignal
}

/** Handles a refusal of the broker to fetch a partition. */
export class Refusals<Value, Key> {
  readonly #options: RefusalsOptions

  constructor(options: RefusalsOptions) {
    this.#options = options
  }

  /** Resolves when the partition can be fetched again. @throws MillraceError if it cannot */
  async handle(stream: PartitionStream<Value, Key>, error: MillraceError): Promise<void> {
    if (error.code === 'OFFSET_OUT_OF_RANGE') return this.#outOfRange(stream, error)
    if (error.code === 'NOT_OWNER') {
      const { port, signal } = this.#options
      // If this fails the next fetch goes to the same broker, which refuses it again.
      await port.topic(stream.topic, { fresh: true, signal }).catch(noop)
    } else if (!error.retryable) {
      throw this.#explain(stream, error)
    }
  }

  #explain(stream: PartitionStream<Value, Key>, cause: MillraceError): MillraceError {
    const { topic, partition, fetchOffset } = stream
    const where = `topic "${topic}", partition ${partition}, offset ${fetchOffset}`
    if (cause.code === 'UNKNOWN_TOPIC') {
      return new MillraceError('UNKNOWN_TOPIC', `topic "${topic}" was deleted`, { cause })
    }
    return new MillraceError(cause.code, `can't read ${where}: ${cause.message}`, { cause })
  }

  async #outOfRange(stream: PartitionStream<Value, Key>, cause: MillraceError): Promise<void> {
    const { port, policy, signal, onSkipped } = this.#options
    const { topic, topicId, partition, version, fetchOffset: fromOffset } = stream
    const ask = { topic, topicId, partition }
    const queries = [
      { ...ask, at: 'earliest' },
      { ...ask, at: 'latest' },
    ] as const
    const [start = 0, end = 0] = await findOffsets(port, queries, signal)
    if (stream.version !== version || stream.state !== 'active') return
    if (fromOffset >= start && fromOffset <= end) return
    const isPastEnd = fromOffset > end
    if (policy === 'error' || (isPastEnd && policy !== 'latest')) {
      throw new MillraceError(
        'OFFSET_OUT_OF_RANGE',
        `offset ${fromOffset} is out of range in topic "${topic}", partition ${partition}, expected ${start} to ${end}`,
        { cause },
      )
    }
    const toOffset = policy === 'latest' ? end : start
    if (isPastEnd) stream.restart(toOffset)
    else stream.skipTo(toOffset)
    if (!isPastEnd) onSkipped({ topic, partition, fromOffset, toOffset })
  }
}

function noop(): void {}
