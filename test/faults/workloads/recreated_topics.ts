import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, defineTopic, isMillraceError, string } from '../../../client/index.js'
import type { Random } from '../../helpers/random.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding, RoundContext } from '../campaign.js'
import {
  type Generation,
  judgeRecreated,
  type LoggedRecord,
  type ReaderEnd,
  type RecreatedPublish,
  type RecreatedRead,
} from '../judges/recreated.js'
import type { CrashWork } from '../trial/crash_trial.js'
import { crashClient, pause } from './crash_client.js'

const partitionsMax = 4
const publishedAtOnce = 20
const publishPauseMs = 10
const lifeMsMax = 1_500
/** Most topics come again sooner than readers give up waiting for them. */
const absentMsMax = { usual: 500, long: 5_000 }
const progressMsMax = 90_000
/** How long no reader gets anything until what is missing counts as undelivered. */
const silentMs = 20_000
const failsEvery = 9
const restartPauseMs = 20

const again = defineTopic('again', { value: string })
const kinds = ['alone', 'stream group', 'queue group'] as const
type Kind = (typeof kinds)[number]

/**
 * A topic that is deleted and created again while clients publish to it and read it: without a group, in a stream group, and
 * in a queue group whose handlers fail now and then. The same clients continue from topic to topic.
 */
export class RecreatedTopics implements CrashWork {
  readonly #context: RoundContext
  readonly #server: string
  readonly #random: Random
  readonly #client: Client
  readonly #stop = new AbortController()
  /** Ends the readers, after everything else. */
  readonly #stopReaders = new AbortController()
  readonly #generations: { createdMs: number; deletingMs: number; owedUntilMs: number | undefined }[] = []
  readonly #published: RecreatedPublish[] = []
  readonly #reads: RecreatedRead[] = []
  readonly #seen = new Map<Kind, Set<string>>(kinds.map((kind) => [kind, new Set()]))
  readonly #ends: ReaderEnd[] = []
  readonly #running: Promise<void>[] = []
  #operating: Promise<void> = Promise.resolve()
  #publishing: Promise<void> = Promise.resolve()
  #exists = false
  #readyMs = performance.now()
  /** Topics that were created since the broker was ready, and of which everything was waited for. */
  #readSinceReady = 0

  private constructor(context: RoundContext, server: string, client: Client) {
    this.#context = context
    this.#server = server
    this.#random = context.rng
    this.#client = client
  }

  static async start(context: RoundContext, server: string): Promise<RecreatedTopics> {
    const work = new RecreatedTopics(context, server, await crashClient(context, server))
    await work.#begin()
    return work
  }

  /**
   * Waits until so many more messages are read, and mostly until everything of a topic was read that was created since the last
   * crash: readers that have stalled continue after the next crash.
   */
  async progress(count: number): Promise<void> {
    const goal = this.#reads.length + count
    const { signal } = this.#context
    const waitedFor = this.#random.chance(0.6) ? 1 : 0
    const reached = (): boolean => this.#reads.length >= goal && this.#readSinceReady >= waitedFor
    await waitFor(`${count} messages to be read`, reached, {
      deadlineMs: progressMsMax,
      signal,
    })
  }

  brokerIs(state: 'down' | 'up'): void {
    // While the broker is down the readers are silent, too.
    this.#readyMs = state === 'up' ? performance.now() : Number.POSITIVE_INFINITY
    this.#readSinceReady = 0
  }

  async conclude(): Promise<{ readonly operations: number; readonly findings: readonly Finding[] }> {
    this.#stop.abort()
    await this.#operating
    await this.#publishing
    const log = await this.#readLog()
    this.#stopReaders.abort()
    await Promise.all(this.#running)
    const findings = judgeRecreated({
      kinds,
      generations: this.#generations as readonly Generation[],
      published: this.#published,
      reads: this.#reads,
      ends: this.#ends,
      log,
    })
    return { operations: this.#published.length + this.#reads.length, findings }
  }

  async #begin(): Promise<void> {
    await this.#create()
    const start = async (
      kind: Kind,
      read: (client: Client, name: string) => Promise<void>,
      index: number,
    ) => {
      const client = await crashClient(this.#context, this.#server)
      this.#running.push(this.#keepReading(`${kind} ${index}`, (name) => read(client, name)))
    }
    await start('alone', (client, name) => this.#consume(client, name, 'alone'), 0)
    for (const index of [0, 1]) {
      await start('stream group', (client, name) => this.#consume(client, name, 'stream group'), index)
      await start('queue group', (client, name) => this.#work(client, name), index)
    }
    const publisher = await crashClient(this.#context, this.#server)
    this.#publishing = this.#publish(publisher)
    this.#operating = this.#operate()
    for (const running of [this.#publishing, this.#operating, ...this.#running]) running.catch(() => {})
  }

  /** Deletes the topic and creates it again, until the work ends with a topic of which everything was read. */
  async #operate(): Promise<void> {
    const random = this.#random
    const { signal } = this.#stop
    for (;;) {
      await pause(random.int(0, lifeMsMax), signal)
      if (signal.aborted || random.chance(0.6)) await this.#everythingRead()
      if (signal.aborted) return
      // Some publishes meet the deletion.
      await pause(random.int(0, 50), signal)
      await this.#delete()
      await pause(random.int(0, random.chance(0.1) ? absentMsMax.long : absentMsMax.usual), signal)
      await this.#create()
    }
  }

  async #create(): Promise<void> {
    await this.#untilDone(
      () => this.#client.topics.create(again.name, { partitions: this.#random.int(1, partitionsMax) }),
      'TOPIC_EXISTS',
    )
    this.#generations.push({
      createdMs: performance.now(),
      deletingMs: Number.POSITIVE_INFINITY,
      owedUntilMs: undefined,
    })
    this.#exists = true
  }

  async #delete(): Promise<void> {
    const generation = this.#generations.at(-1)
    if (generation !== undefined) generation.deletingMs = performance.now()
    this.#exists = false
    await this.#untilDone(() => this.#client.topics.delete(again.name), 'UNKNOWN_TOPIC')
  }

  /** Nobody else creates or deletes the topic: a refusal says that an attempt of unknown outcome was carried out. */
  async #untilDone(call: () => Promise<unknown>, done: 'TOPIC_EXISTS' | 'UNKNOWN_TOPIC'): Promise<void> {
    for (;;) {
      try {
        await call()
        return
      } catch (error) {
        if (!isMillraceError(error)) throw error
        if (error.code === done) return
        await sleep(restartPauseMs, undefined, { signal: this.#context.signal })
      }
    }
  }

  async #publish(client: Client): Promise<void> {
    const { signal } = this.#stop
    const running = new Set<Promise<void>>()
    for (let next = 0; !signal.aborted; await sleep(publishPauseMs)) {
      for (let n = 0; n < publishedAtOnce && this.#exists; n++) {
        const call = this.#publishOne(client, `m${next++}`)
        running.add(call)
        call.finally(() => running.delete(call)).catch(() => {})
      }
    }
    await Promise.all(running)
  }

  async #publishOne(client: Client, value: string): Promise<void> {
    const begunMs = performance.now()
    let ackedMs: number | undefined
    try {
      await client.publish(again, { key: value, value })
      ackedMs = performance.now()
    } catch (error) {
      if (!isMillraceError(error)) throw error
    }
    this.#published.push({ value, begunMs, ackedMs })
  }

  /** Reads without end: when a reader has ended, another starts, like a program that is restarted. */
  async #keepReading(label: string, read: (reader: string) => Promise<void>): Promise<void> {
    const { signal } = this.#stopReaders
    for (let life = 0; !signal.aborted; life++) {
      const reader = `${label}.${life}`
      try {
        await read(reader)
        if (!signal.aborted) this.#ends.push({ reader, code: undefined, text: 'it ended without an error' })
      } catch (error) {
        const code = isMillraceError(error) ? error.code : undefined
        if (!signal.aborted) this.#ends.push({ reader, code, text: String(error) })
      }
      await pause(restartPauseMs, signal)
    }
  }

  async #consume(client: Client, reader: string, kind: 'alone' | 'stream group'): Promise<void> {
    const { signal } = this.#stopReaders
    const group = kind === 'alone' ? {} : { group: 'readers' }
    const consumer = client.consume(again, { ...group, from: 'earliest', onError: () => {}, signal })
    for await (const message of consumer) {
      this.#note(reader, kind, message)
      if (kind !== 'alone') message.ack()
    }
  }

  async #work(client: Client, reader: string): Promise<void> {
    const { signal } = this.#stopReaders
    const worker = client.work(
      again,
      {
        group: 'crew',
        settings: { attemptsMax: 1_000, retry: { kind: 'fixed', delay: 50 } },
        onFailed: () => {},
        onError: () => {},
        signal,
      },
      (message) => {
        this.#note(reader, 'queue group', message)
        if (Number(message.value.slice(1)) % failsEvery === 0 && message.attempt === 1)
          throw new Error('not yet')
      },
    )
    await worker.closed
  }

  #note(reader: string, kind: Kind, { value, partition }: { value: string; partition: number }): void {
    const atMs = performance.now()
    this.#seen.get(kind)?.add(value)
    this.#reads.push({ reader, kind, value, partition, atMs })
  }

  /** Waits until each kind of reader has everything of the topic, or gets nothing for a while; it is owed from now on. */
  async #everythingRead(): Promise<void> {
    const generation = this.#generations.at(-1)
    if (generation === undefined) return
    const { createdMs } = generation
    const owedUntilMs = performance.now()
    let missing: { kind: Kind; value: string }[] = []
    for (const { value, begunMs, ackedMs } of this.#published)
      if (begunMs >= createdMs && ackedMs !== undefined)
        for (const kind of kinds) missing.push({ kind, value })
    let progressMs = performance.now()
    await waitFor(
      'readers to get everything, or nothing for a while',
      () => {
        const before = missing.length
        missing = missing.filter(({ kind, value }) => !this.#seen.get(kind)?.has(value))
        if (missing.length < before) progressMs = performance.now()
        return missing.length === 0 || performance.now() - Math.max(progressMs, this.#readyMs) > silentMs
      },
      { deadlineMs: 2 * progressMsMax, signal: this.#context.signal },
    )
    generation.owedUntilMs = owedUntilMs
    if (createdMs > this.#readyMs) this.#readSinceReady++
  }

  async #readLog(): Promise<LoggedRecord[]> {
    const log: LoggedRecord[] = []
    const client = await crashClient(this.#context, this.#server)
    for await (const { value, partition, offset } of client.consume(again, {
      from: 'earliest',
      until: 'end',
    }))
      log.push({ value, partition, offset })
    return log
  }
}
