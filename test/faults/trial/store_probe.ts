import { setTimeout as sleep } from 'node:timers/promises'
import {
  commands,
  errorOf,
  isMillraceError,
  RecordBatchBuilder,
  RecordCursor,
  splitBatches,
} from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { RoundContext } from '../campaign.js'
import { decodeValue, encodeValue } from '../workloads/values.js'

/** One call of the probe. */
export interface ProbeCall {
  /** Of the monotonic clock in milliseconds. */
  readonly startedMs: number
  readonly endedMs: number
  /** `ok`, the name of the broker's error, or `no reply`. For `status` the health. */
  readonly outcome: string
  readonly detail: string
}

type Kind = 'publish' | 'hotRead' | 'coldRead' | 'status'

export interface StoreProbeOptions {
  /** The current port of the broker. */
  readonly address: () => { readonly host: string; readonly port: number }
  /** Sizes of values, in turn. */
  readonly valueBytes: readonly number[]
}

const topic = 'probe'
const everyMs: Readonly<Record<Kind, number>> = { publish: 20, hotRead: 20, coldRead: 50, status: 20 }
const replyMsMax = 10_000
const reconnectMs = 20
const fetchBytes = 64 * 1024

/**
 * Calls a broker all the time with the requests that a failing disk affects, each on its own connection and without
 * repeats:
 * publishes, fetches of the newest (from memory) and of the oldest message (from disk), and status.
 */
export class StoreProbe {
  readonly calls: Readonly<Record<Kind, ProbeCall[]>> = { publish: [], hotRead: [], coldRead: [], status: [] }
  readonly #options: StoreProbeOptions
  readonly #stop = new AbortController()
  readonly #acknowledged = new Map<number, string>()
  readonly #running: Promise<unknown>
  #number = 0
  #end = 0

  private constructor(context: RoundContext, options: StoreProbeOptions) {
    this.#options = options
    this.#running = Promise.all([
      this.#repeat('publish', (client, topicId) => this.#publish(client, topicId)),
      this.#repeat('hotRead', (client, topicId) => this.#read(client, topicId, Math.max(0, this.#end - 1))),
      this.#repeat('coldRead', (client, topicId) => this.#read(client, topicId, 0)),
      this.#repeat('status', readHealth),
    ])
    this.#running.catch(() => {})
    context.defer(() => this.#stopAsking())
  }

  /** Creates its topic and begins; returns when each kind of call has succeeded once. */
  static async start(context: RoundContext, options: StoreProbeOptions): Promise<StoreProbe> {
    const client = await connectHello(options.address())
    await client.request(commands.topicCreate, { topic, partitions: 1, settings: { retentionMs: -1 } })
    client.destroy()
    const probe = new StoreProbe(context, options)
    for (const kind of Object.keys(everyMs) as Kind[]) await probe.works(kind, performance.now())
    return probe
  }

  /** Waits for a call begun after `sinceMs` that succeeds. */
  async works(kind: Kind, sinceMs: number, deadlineMs = 10_000): Promise<ProbeCall> {
    return waitFor(
      `the probe's ${kind} to succeed`,
      () => this.since(kind, sinceMs).find(({ outcome }) => outcome === 'ok'),
      { deadlineMs },
    )
  }

  /** Completed calls of a kind that began after a time, the latest last. */
  since(kind: Kind, sinceMs: number): ProbeCall[] {
    const first = this.calls[kind].findIndex(({ startedMs }) => startedMs >= sinceMs)
    return first < 0 ? [] : this.calls[kind].slice(first)
  }

  /** Number of these calls by result. */
  static tally(calls: readonly ProbeCall[]): Record<string, number> {
    const counts: Record<string, number> = {}
    for (const { outcome } of calls) counts[outcome] = (counts[outcome] ?? 0) + 1
    return counts
  }

  /**
   * Stops and reads everything back.
   * @returns acknowledged messages that are missing or different
   */
  async conclude(): Promise<string[]> {
    await this.#stopAsking()
    const client = await connectHello(this.#options.address())
    try {
      return await this.#missing(client, await topicIdOf(client))
    } finally {
      client.destroy()
    }
  }

  async #missing(client: RawClient, topicId: number): Promise<string[]> {
    const missing: string[] = []
    for (const [offset, id] of this.#acknowledged) {
      const found = await fetchOne(client, topicId, offset).catch((error: Error) => error.message)
      if (found !== id) missing.push(`offset ${offset} of the probe holds ${found}, acknowledged was ${id}`)
    }
    return missing
  }

  async #stopAsking(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  /** One call after the other, each recorded, on a connection that is replaced when it ends. */
  async #repeat(
    kind: Kind,
    call: (client: RawClient, topicId: number) => Promise<{ outcome: string; detail: string }>,
  ): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      let client: RawClient | undefined
      try {
        client = await connectHello(this.#options.address())
        const topicId = await topicIdOf(client)
        while (!signal.aborted && !client.socket.destroyed) {
          await this.#note(kind, client, (connected) => call(connected, topicId))
          await sleep(everyMs[kind])
        }
      } catch {
        // The broker is down: its answers then say nothing about its disk.
        await sleep(reconnectMs)
      } finally {
        client?.destroy()
      }
    }
  }

  async #note(
    kind: Kind,
    client: RawClient,
    call: (client: RawClient) => Promise<{ outcome: string; detail: string }>,
  ): Promise<void> {
    const startedMs = performance.now()
    const timer = setTimeout(() => client.destroy(), replyMsMax)
    const { outcome, detail } = await call(client).catch((error: Error) => refusal(error))
    clearTimeout(timer)
    this.calls[kind].push({ startedMs, endedMs: performance.now(), outcome, detail })
  }

  async #publish(client: RawClient, topicId: number): Promise<{ outcome: string; detail: string }> {
    const number = this.#number++
    const { valueBytes } = this.#options
    const id = `probe:${number}`
    const builder = new RecordBatchBuilder()
    const value = encodeValue({ id, bytes: valueBytes[number % valueBytes.length] ?? 0 })
    builder.append({ value, timestamp: Date.now() })
    const payload = builder.finish('none')
    const batches = [[topicId, 0, payload.length] as const]
    const { body } = await client.request(commands.publish, { batches }, payload)
    const [result] = body.results
    if (result === undefined || result.error !== 0) throw errorOf(result ?? { error: 1 })
    const offset = result.baseOffset ?? -1
    this.#acknowledged.set(offset, id)
    this.#end = offset + 1
    return { outcome: 'ok', detail: `offset ${offset}` }
  }

  async #read(
    client: RawClient,
    topicId: number,
    offset: number,
  ): Promise<{ outcome: string; detail: string }> {
    const id = await fetchOne(client, topicId, offset)
    const expected = this.#acknowledged.get(offset)
    if (expected === undefined || id === expected) return { outcome: 'ok', detail: '' }
    return { outcome: 'WRONG', detail: `offset ${offset} gave ${id}, acknowledged was ${expected}` }
  }
}

async function readHealth(client: RawClient): Promise<{ outcome: string; detail: string }> {
  const { health } = (await client.request(commands.status, {})).body
  return { outcome: health.status, detail: health.reasons.join('; ') }
}

async function topicIdOf(client: RawClient): Promise<number> {
  const { body } = await client.request(commands.metadata, { topics: [topic] })
  return body.topics[0]?.topicId ?? 0
}

async function fetchOne(client: RawClient, topicId: number, offset: number): Promise<string> {
  const { body, payload } = await client.request(commands.fetch, {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: fetchBytes,
    partitions: [[topicId, 0, offset, fetchBytes]],
  })
  const [, , error = 0, , , , message] = body.partitions[0] ?? []
  if (error !== 0) throw errorOf({ error, message })
  for (const batch of splitBatches(payload)) {
    const cursor = new RecordCursor(batch)
    while (cursor.next()) {
      if (cursor.offset === offset)
        return decodeValue(cursor.records.subarray(cursor.valueStart, cursor.valueEnd)).id
    }
  }
  return 'nothing'
}

function refusal(error: Error): { outcome: string; detail: string } {
  if (isMillraceError(error) && error.code === 'CONNECTION_LOST') return { outcome: 'no reply', detail: '' }
  return { outcome: isMillraceError(error) ? error.code : error.name, detail: error.message }
}
