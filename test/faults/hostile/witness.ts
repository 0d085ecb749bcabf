import { crc32 } from 'node:zlib'
import { type Client, type Consumer, connect, defineTopic, string } from '../../../client/index.js'
import type { TestContext } from '../../helpers/context.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding } from '../campaign.js'

const partitions = 2
const windowSize = 10
const pauseMs = 5
const drainMsDefault = 20_000

/**
 * A healthy client next to an attack: it publishes numbered values and reads them in a group, the whole time. It must
 * not
 * see an error, and must read its values at their acknowledged places, once and in order. It skips values of others in
 * its
 * topic, because an attacker may publish like anyone.
 */
export class Witness {
  readonly client: Client
  readonly topicId: number
  readonly findings: Finding[] = []
  /** Values published and acknowledged; values read. */
  published = 0
  read = 0
  readonly #token: string
  readonly #topic
  readonly #consumer: Consumer<string, string>
  /** Offsets of values that were acknowledged and not read yet, or read and not acknowledged yet. */
  readonly #acknowledgedAt = new Map<string, number>()
  readonly #readAt = new Map<string, number>()
  readonly #nextByPartition = new Map<number, number>()
  readonly #stop = new AbortController()
  readonly #work: Promise<unknown>

  private constructor(client: Client, token: string, topicId: number) {
    this.client = client
    this.topicId = topicId
    this.#token = token
    this.#topic = defineTopic(`witness-${token}`, { value: string })
    this.#consumer = client.consume(this.#topic, {
      group: `witness-group-${token}`,
      from: 'earliest',
      fetchWaitMs: 50,
      onDecodeError: 'skip',
    })
    this.#work = Promise.all([
      this.#guard('read', () => this.#consume()),
      ...Array.from({ length: partitions }, (_, partition) =>
        this.#guard('publish', () => this.#publish(partition)),
      ),
    ])
  }

  /** @param token unique, and not guessable from recorded traffic */
  static async start(context: TestContext, port: number, token: string): Promise<Witness> {
    const client = await connect({ servers: `127.0.0.1:${port}`, clientName: 'witness' })
    context.defer(() => client.close({ timeoutMs: 0 }))
    const { topicId } = await client.topics.create(`witness-${token}`, {
      partitions,
      retention: { time: '1d', bytes: '1GB' },
    })
    return new Witness(client, token, topicId)
  }

  /** Stops publishing, reads the rest, and judges. */
  async finish({
    drainMs = drainMsDefault,
  }: {
    readonly drainMs?: number
  } = {}): Promise<readonly Finding[]> {
    this.#stop.abort()
    const isThrough = (): boolean => this.findings.length > 0 || this.read >= this.published
    try {
      await waitFor('the witness to read what it published', isThrough, { deadlineMs: drainMs })
    } catch {
      const evidence = `${this.published} values were acknowledged, ${this.read} read`
      this.findings.push({ check: 'witness-lost', evidence })
    }
    await this.#consumer.close()
    await this.#work
    return this.findings
  }

  async #guard(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const text = error instanceof Error ? `${String(error)}\n${error.stack ?? ''}` : String(error)
      this.findings.push({ check: 'witness-error', evidence: `${what}: ${text}` })
      this.#stop.abort()
    }
  }

  async #publish(partition: number): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; ) {
      const values = Array.from({ length: windowSize }, () => numberedValue(this.#token, partition, number++))
      await Promise.all(
        values.map(async (value) => {
          const receipt = await this.client.publish(this.#topic, { value, partition })
          this.published++
          this.#match(value, receipt.offset, this.#readAt, this.#acknowledgedAt)
        }),
      )
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }

  async #consume(): Promise<void> {
    for await (const batch of this.#consumer.batches()) {
      for (const { value, partition, offset } of batch.messages) this.#take(value, partition, offset)
      batch.ack()
    }
  }

  #take(value: string, partition: number, offset: number): void {
    if (!value.startsWith(this.#token)) return
    this.read++
    const expected = this.#nextByPartition.get(partition) ?? 0
    const wanted = numberedValue(this.#token, partition, expected)
    this.#nextByPartition.set(partition, expected + 1)
    const place = `partition ${partition}, offset ${offset}`
    if (value !== wanted)
      this.findings.push({
        check: 'witness-changed',
        evidence: `${place}: read ${value}, expected ${wanted}`,
      })
    this.#match(value, offset, this.#acknowledgedAt, this.#readAt)
  }

  /** Compares an offset with the one of the other side, or keeps it until that comes. */
  #match(value: string, offset: number, others: Map<string, number>, own: Map<string, number>): void {
    const other = others.get(value)
    if (other === undefined) {
      own.set(value, offset)
      return
    }
    others.delete(value)
    // A retry that the broker recognizes much later is acknowledged without an offset.
    if (other === offset || other < 0 || offset < 0) return
    const evidence = `${value} has offsets ${offset} and ${other}: acknowledged at one, read at the other`
    this.findings.push({ check: 'witness-offset', evidence })
  }
}

function numberedValue(token: string, partition: number, number: number): string {
  const text = `${token}:${partition}:${number}`
  return `${text}:${crc32(text)}`
}
