import { type Client, connect } from '../../client/index.js'
import { LatencyHistogram, sendAtRate } from '../lib/latency.js'
import { jsonLines } from '../lib/sample_data.js'
import { monotonicMs, serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkPublisherOptions {
  readonly port: number
  readonly topic: string
  readonly messageBytes: number
  /**
   * "bulk": `publishMany`; "promises": `publish`, awaited in windows of 10,000; "rate": `publish`, `messagesPerS` times a
   * second, each value beginning with its intended time as a double, little-endian.
   */
  readonly mode: 'bulk' | 'promises' | 'rate'
  readonly messagesPerS?: number
  /** "bulk" ends after this many messages. Default: when it is stopped. */
  readonly messagesMax?: number
}

/** How long receipts took to come; only where there is one for each message. */
export interface ReceiptFigures {
  readonly p50Ms: number
  readonly p99Ms: number
  /** The longest time without any receipt. */
  readonly longestGapMs: number
}

const windowMessages = 10_000
/** One call of `publishMany`: short enough to count with, and several of them overlap. */
const bulkBytes = 2 * 1024 * 1024
const bulkCallsMax = 8

class SdkPublisher {
  readonly #client: Client
  readonly #options: SdkPublisherOptions
  readonly #value: Buffer
  readonly #stopped = new AbortController()
  readonly #receipts = new LatencyHistogram()
  #acknowledged = 0
  #lastReceiptMs = monotonicMs()
  #longestGapMs = 0

  constructor(client: Client, options: SdkPublisherOptions) {
    this.#client = client
    this.#options = options
    this.#value = jsonLines(options.messageBytes)
  }

  count(): { messages: number; bytes: number } {
    return { messages: this.#acknowledged, bytes: this.#acknowledged * this.#options.messageBytes }
  }

  receipts(): ReceiptFigures {
    const { p50Ms, p99Ms } = this.#receipts.figures()
    return { p50Ms, p99Ms, longestGapMs: this.#longestGapMs }
  }

  stop(): void {
    this.#stopped.abort()
  }

  run(): Promise<void> {
    if (this.#options.mode === 'bulk')
      return this.#runBulk(this.#options.messagesMax ?? Number.POSITIVE_INFINITY)
    return this.#options.mode === 'promises'
      ? this.#runWindows()
      : this.#runAtRate(this.#options.messagesPerS ?? 1_000)
  }

  /** Keeps a few calls of `publishMany` going, so that there is always something to send. */
  async #runBulk(messagesMax: number): Promise<void> {
    const callMessages = Math.ceil(bulkBytes / this.#options.messageBytes)
    const calls: Promise<void>[] = []
    for (let given = 0; given < messagesMax && !this.#stopped.signal.aborted; given += callMessages) {
      if (calls.length === bulkCallsMax) await calls.shift()
      calls.push(this.#publishMany(Math.min(callMessages, messagesMax - given)))
    }
    await Promise.all(calls)
  }

  async #publishMany(messages: number): Promise<void> {
    await this.#client.publishMany(this.#options.topic, this.#messages(messages))
    this.#acknowledged += messages
  }

  *#messages(count: number): Generator<{ readonly value: Uint8Array }> {
    for (let i = 0; i < count; i++) yield { value: this.#value }
  }

  async #runWindows(): Promise<void> {
    const acknowledged = (): void => void this.#acknowledged++
    while (!this.#stopped.signal.aborted) {
      const window: Promise<void>[] = []
      for (let i = 0; i < windowMessages; i++)
        window.push(this.#client.publish(this.#options.topic, { value: this.#value }).then(acknowledged))
      await Promise.all(window)
    }
  }

  #runAtRate(messagesPerS: number): Promise<void> {
    const send = (intendedMs: number): void => {
      const value = Buffer.from(this.#value)
      value.writeDoubleLE(intendedMs)
      // A rejection ends the worker: nothing handles it.
      void this.#client.publish(this.#options.topic, { value }).then(() => this.#receipt(intendedMs))
    }
    this.#lastReceiptMs = monotonicMs()
    return sendAtRate(messagesPerS, send, this.#stopped.signal)
  }

  #receipt(intendedMs: number): void {
    const nowMs = monotonicMs()
    this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastReceiptMs)
    this.#lastReceiptMs = nowMs
    this.#receipts.recordSince(intendedMs)
    this.#acknowledged++
  }
}

async function start(options: SdkPublisherOptions): Promise<WorkerTask> {
  const client = await connect(`127.0.0.1:${options.port}`)
  const publisher = new SdkPublisher(client, options)
  const finished = publisher.run()
  return {
    count: () => publisher.count(),
    stop: async () => {
      publisher.stop()
      await finished
      await client.close()
      return publisher.receipts()
    },
  }
}

await serveWorker(start)
