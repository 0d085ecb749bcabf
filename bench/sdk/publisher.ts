import { type Client, type Compression, connect } from '../../client/index.js'
import { LatencyHistogram, sendAtRate } from '../lib/latency.js'
import { type Count, monotonicMs, serveWorker, type WorkerTask } from '../lib/worker.js'
import { type MessageData, MessageSource } from './messages.js'

export interface SdkPublisherOptions {
  readonly port: number
  readonly topic: string
  readonly data: MessageData
  /**
   * "bulk": `publishMany`; "promises": `publish`, awaited in windows of 10,000; "rate": `publish`, `messagesPerS` times a
   * second, each value beginning with its intended time as a double, little-endian.
   */
  readonly mode: 'bulk' | 'promises' | 'rate'
  readonly messagesPerS?: number
  /** "bulk" ends after this many messages. Default: when it is stopped. */
  readonly messagesMax?: number
  /** Number of clients with the same work, each with its own connection. Default 1. */
  readonly clients?: number
  readonly compression?: Compression
  /** "bulk": limit of unacknowledged bytes of values. Default 16 MiB. */
  readonly windowBytes?: number
}

/** The total of acknowledged messages, and the latency of receipts if each message has one. */
export interface ReceiptFigures extends Count {
  readonly p50Ms: number
  readonly p99Ms: number
  /** The longest time without any receipt. */
  readonly longestGapMs: number
  /** "rate": delay of the sends, caused by the timer and the publisher. */
  readonly lateP50Ms: number
}

const windowMessages = 10_000
const windowBytesDefault = 16 * 1024 * 1024
/**
 * Messages of one call of `publishMany`, which counts when all of it is acknowledged: short, and many of them overlap.
 */
const bulkCallBytesMax = 512 * 1024
const bulkCallsMin = 4
/** One in this many messages measures its lateness: a clock read for each would cost what is measured. */
const lateEvery = 16
/** "rate" stops sending at this limit: waiting messages become late instead of the queue becoming large. */
const unansweredMax = 50_000

class SdkPublisher {
  readonly #clients: readonly Client[]
  readonly #options: SdkPublisherOptions
  readonly #source: MessageSource
  readonly #stopped = new AbortController()
  readonly #receipts = new LatencyHistogram()
  readonly #late = new LatencyHistogram()
  #messages = 0
  #bytes = 0
  #given = 0
  #lastReceiptMs = monotonicMs()
  #longestGapMs = 0

  constructor(clients: readonly Client[], source: MessageSource, options: SdkPublisherOptions) {
    this.#clients = clients
    this.#source = source
    this.#options = options
  }

  count(): Count {
    return { messages: this.#messages, bytes: this.#bytes }
  }

  receipts(): ReceiptFigures {
    const { p50Ms, p99Ms } = this.#receipts.figures()
    return {
      ...this.count(),
      p50Ms,
      p99Ms,
      longestGapMs: this.#longestGapMs,
      lateP50Ms: this.#late.figures().p50Ms,
    }
  }

  stop(): void {
    this.#stopped.abort()
  }

  /** Ends when it is stopped and everything is acknowledged. */
  async run(): Promise<void> {
    await Promise.all(this.#clients.map((client) => this.#runClient(client)))
  }

  #runClient(client: Client): Promise<void> {
    switch (this.#options.mode) {
      case 'bulk':
        return this.#runBulk(client, this.#options.messagesMax ?? Number.POSITIVE_INFINITY)
      case 'promises':
        return this.#runWindows(client)
      case 'rate':
        return this.#runAtRate(client, (this.#options.messagesPerS ?? 1_000) / this.#clients.length)
    }
  }

  /** Keeps a few calls of `publishMany` going, so that there is always something to send. */
  async #runBulk(client: Client, messagesMax: number): Promise<void> {
    const { windowBytes = windowBytesDefault } = this.#options
    const clientBytes = windowBytes / this.#clients.length
    const callBytes = Math.min(bulkCallBytesMax, clientBytes / bulkCallsMin)
    const callMessages = Math.ceil(callBytes / this.#source.bytesMean)
    const callsMax = Math.max(bulkCallsMin, Math.floor(clientBytes / callMessages / this.#source.bytesMean))
    const calls: Promise<void>[] = []
    while (this.#given < messagesMax && !this.#stopped.signal.aborted) {
      if (calls.length === callsMax) await calls.shift()
      const messages = Math.min(callMessages, messagesMax - this.#given)
      this.#given += messages
      if (messages > 0) calls.push(this.#publishMany(client, messages))
    }
    await Promise.all(calls)
  }

  async #publishMany(client: Client, messages: number): Promise<void> {
    const taken = { bytes: 0 }
    await client.publishMany(this.#options.topic, this.#take(messages, taken))
    this.#messages += messages
    this.#bytes += taken.bytes
  }

  *#take(messages: number, taken: { bytes: number }): Generator<ReturnType<MessageSource['next']>> {
    for (let i = 0; i < messages; i++) {
      const message = this.#source.next()
      taken.bytes += message.value.length
      yield message
    }
  }

  async #runWindows(client: Client): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      const window: Promise<void>[] = []
      for (let i = 0; i < windowMessages; i++) {
        const message = this.#source.next()
        const { length } = message.value
        window.push(client.publish(this.#options.topic, message).then(() => this.#acknowledged(length)))
      }
      await Promise.all(window)
    }
  }

  #runAtRate(client: Client, messagesPerS: number): Promise<void> {
    let unanswered = 0
    const send = (intendedMs: number): void => {
      unanswered++
      if (this.#given++ % lateEvery === 0) this.#late.recordSince(intendedMs)
      const message = this.#source.next()
      const value = Buffer.from(message.value)
      value.writeDoubleLE(intendedMs)
      const answered = (): void => {
        unanswered--
        this.#receipt(intendedMs, value.length)
      }
      // A rejection ends the worker: nothing handles it.
      void client.publish(this.#options.topic, { ...message, value }).then(answered)
    }
    this.#lastReceiptMs = monotonicMs()
    return sendAtRate(messagesPerS, send, this.#stopped.signal, () => unanswered < unansweredMax)
  }

  #receipt(intendedMs: number, bytes: number): void {
    const nowMs = monotonicMs()
    this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastReceiptMs)
    this.#lastReceiptMs = nowMs
    this.#receipts.recordSince(intendedMs)
    this.#acknowledged(bytes)
  }

  #acknowledged(bytes: number): void {
    this.#messages++
    this.#bytes += bytes
  }
}

async function start(options: SdkPublisherOptions): Promise<WorkerTask> {
  const { port, clients: count = 1, compression = 'none' } = options
  const server = { servers: `127.0.0.1:${port}`, producer: { compression } }
  const source = await MessageSource.open(options.data)
  const clients = await Promise.all(Array.from({ length: count }, () => connect(server)))
  const publisher = new SdkPublisher(clients, source, options)
  const finished = publisher.run()
  return {
    count: () => publisher.count(),
    stop: async () => {
      publisher.stop()
      await finished
      await Promise.all(clients.map((client) => client.close()))
      return publisher.receipts()
    },
  }
}

await serveWorker(start)
