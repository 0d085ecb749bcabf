import { type Client, defineTopic, Reject, string } from '../../../client/index.js'
import type { TestContext } from '../../helpers/context.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding } from '../campaign.js'
import { crashClient } from './crash_client.js'

const workers = 4
const partitions = 3
const attemptsMax = 50
const publishedAtOnce = 20
/** Messages that are published and not settled, at most: the workers have to settle the rest at the end. */
const behindMax = 2_000
const delayMsMax = 300
const progressMsMax = 60_000
const findingsMax = 20

const tasks = defineTopic('tasks', { value: string })
const results = defineTopic('results', { value: string })
const records = defineTopic('records', { value: string })
const group = 'crew'

/**
 * A queue group at work, to be disturbed: messages of which some are delayed, workers of which some handlers fail, reject, or
 * do their work in a transaction that publishes to two topics and acknowledges. It knows what has to become of each
 * message by its number, and what the broker has confirmed.
 */
export class QueueWork {
  readonly #context: TestContext
  readonly #server: string
  readonly #client: Client
  readonly #stop = new AbortController()
  readonly #published = new Set<string>()
  readonly #acked = new Set<string>()
  readonly #rejected = new Set<string>()
  readonly #attempts = new Map<string, number>()
  readonly #findings: Finding[] = []
  #publishing: Promise<void> = Promise.resolve()
  #deliveries = 0

  private constructor(context: TestContext, server: string, client: Client) {
    this.#context = context
    this.#server = server
    this.#client = client
  }

  /** @param server where the broker listens, now and after each restart */
  static async start(context: TestContext, server: string): Promise<QueueWork> {
    const work = new QueueWork(context, server, await crashClient(context, server))
    await work.#begin()
    return work
  }

  /** Messages of which the broker has confirmed that they are done or dead. */
  get settled(): number {
    return this.#acked.size + this.#rejected.size
  }

  /** Waits until so many more messages are settled. */
  async progress(count: number): Promise<void> {
    const goal = this.settled + count
    const signal = this.#context.signal
    await waitFor('messages to be settled', () => this.settled >= goal, { deadlineMs: progressMsMax, signal })
  }

  /** Ends publishing, waits until all messages are settled, and judges the outcome of each. */
  async conclude(): Promise<{ readonly operations: number; readonly findings: readonly Finding[] }> {
    this.#stop.abort()
    await this.#publishing
    const { signal } = this.#context
    await waitFor('all messages to be settled', () => this.#isDone(), { deadlineMs: progressMsMax, signal })
    await this.#judge()
    return { operations: this.#published.size + this.#deliveries, findings: this.#findings }
  }

  async #begin(): Promise<void> {
    for (const topic of [tasks, results, records])
      await this.#client.topics.create(topic.name, { partitions })
    for (let n = 0; n < workers; n++) this.#startWorker(await crashClient(this.#context, this.#server))
    this.#publishing = this.#publish()
    this.#publishing.catch(() => {})
  }

  async #publish(): Promise<void> {
    const { signal } = this.#stop
    for (let next = 0; !signal.aborted; ) {
      const messages = Array.from({ length: publishedAtOnce }, () => {
        const value = String(next++)
        return Number(value) % 11 === 0
          ? { key: value, value, id: `id-${value}`, delay: next % delayMsMax }
          : { key: value, value }
      })
      await this.#client.publishMany(tasks, messages)
      for (const { value } of messages) this.#published.add(value)
      await waitFor('the workers to keep up', () => next - this.settled < behindMax || signal.aborted, {
        deadlineMs: progressMsMax,
      })
    }
  }

  #startWorker(client: Client): void {
    client.work(
      tasks,
      {
        group,
        concurrency: 20,
        leaseMs: 2_000,
        settings: { attemptsMax, retry: { kind: 'fixed', delay: 5 } },
        onSettled: ({ valueBytes }, outcome) => {
          const value = Buffer.from(valueBytes ?? []).toString()
          if (outcome === 'ack') this.#acked.add(value)
          if (outcome === 'reject') this.#rejected.add(value)
        },
      },
      async (message) => {
        const { value, attempt } = message
        this.#delivered(value, attempt)
        const number = Number(value)
        if (isRejected(number)) throw new Reject('of no use')
        if (number % 7 === 0 && attempt < 3) throw new Error('not yet')
        if (!isTransacted(number)) return
        await client.transaction((transaction) => {
          transaction.publish(results, { key: value, value })
          transaction.publish(records, { key: value, value })
          transaction.ack(message)
        })
        this.#acked.add(value)
      },
    )
  }

  #delivered(value: string, attempt: number): void {
    this.#deliveries++
    if (this.#acked.has(value)) this.#find('delivered-after-ack', `${value}, attempt ${attempt}`)
    if (this.#rejected.has(value)) this.#find('delivered-after-death', `${value}, attempt ${attempt}`)
    const before = this.#attempts.get(value) ?? 0
    if (attempt < before) this.#find('attempts-forgotten', `${value} had ${before} attempts, then ${attempt}`)
    if (attempt > attemptsMax) this.#find('attempts-over-limit', `${value} has attempt ${attempt}`)
    this.#attempts.set(value, attempt)
  }

  async #isDone(): Promise<boolean> {
    if ((await this.#client.delayed.count()).count > 0) return false
    const { partitions } = await this.#client.queues.describe(group)
    return partitions.every((one) => one.waiting + one.inFlight + one.delayed === 0)
  }

  async #judge(): Promise<void> {
    const dead = await this.#valuesOf(`${group}.dead-letters`, 'dead-twice')
    const made = await this.#valuesOf(results.name, 'transaction-twice')
    const recorded = await this.#valuesOf(records.name, 'transaction-twice')
    for (const value of this.#published) {
      const number = Number(value)
      if (!this.#attempts.has(value)) this.#find('never-delivered', value)
      if (dead.has(value) !== isRejected(number))
        this.#find('wrong-end', `${value} is ${dead.has(value) ? '' : 'not '}among the dead letters`)
      if (made.has(value) !== recorded.has(value))
        this.#find('transaction-in-half', `${value} is in one topic of two`)
      if (!isRejected(number) && made.has(value) !== isTransacted(number))
        this.#find('wrong-end', `${value} is ${made.has(value) ? '' : 'not '}among the results`)
      if (dead.has(value) && this.#acked.has(value)) this.#find('acked-and-dead', value)
    }
    for (const value of this.#rejected) if (!dead.has(value)) this.#find('dead-letter-lost', value)
  }

  async #valuesOf(name: string, twice: string): Promise<Set<string>> {
    const values = new Set<string>()
    const topic = defineTopic(name, { value: string })
    for await (const { value } of this.#client.consume(topic, { from: 'earliest', until: 'end' })) {
      if (values.has(value)) this.#find(twice, `${value} is twice in topic ${name}`)
      values.add(value)
    }
    return values
  }

  #find(check: string, evidence: string): void {
    if (this.#findings.length < findingsMax) this.#findings.push({ check, evidence })
  }
}

function isRejected(number: number): boolean {
  return number % 13 === 0
}

function isTransacted(number: number): boolean {
  return number % 5 === 0
}
