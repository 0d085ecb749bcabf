import type { BrokerPort, PortRequestOptions, TopicInfo } from '../../../client/consumer/index.js'
import {
  type Command,
  type commands,
  type ErrorCode,
  errorTable,
  MillraceError,
  RecordBatchBuilder,
  type ReplyOf,
  type RequestOf,
  stampBaseOffset,
} from '../../../protocol/index.js'

type FetchReply = { body: ReplyOf<typeof commands.fetch>; payload: Uint8Array }
type Outcome = ErrorCode | 'ok'
type FetchRequest = RequestOf<typeof commands.fetch>

/** A broker with one topic "t" (id 1) and scripted answers; without a script it answers from `log`. */
export class FakePort implements BrokerPort {
  readonly limits = {
    frameBytesMax: 16 * 1024 * 1024,
    fetchWaitMsMax: 60_000,
    sessionTimeoutMsMin: 1_000,
    sessionTimeoutMsMax: 60_000,
  }
  partitions = 1
  /** Batches of each partition with their offsets, in order. */
  readonly log: { readonly offset: number; readonly count: number; readonly bytes: Uint8Array }[][] = [[]]
  start = 0
  /** Answers for the next fetches; they take precedence over the log. */
  readonly fetches: ((request: FetchRequest) => FetchReply | Promise<FetchReply>)[] = []
  /** Answers for the next commits. */
  readonly commits: ((request: RequestOf<typeof commands.groupCommit>) => Outcome | Promise<Outcome>)[] = []
  readonly requests: { readonly name: string; readonly body: unknown }[] = []
  metadataAsked = 0
  readonly #waiting = new Set<() => void>()

  /** Appends values as one batch and wakes waiting fetches. */
  append(partition: number, values: readonly string[], offset = this.end(partition)): Uint8Array {
    const builder = new RecordBatchBuilder()
    for (const value of values) builder.append({ key: null, value, timestamp: 1000 })
    const bytes = builder.finish()
    stampBaseOffset(bytes, 0, offset)
    this.log[partition] ??= []
    this.log[partition].push({ offset, count: values.length, bytes })
    for (const wake of this.#waiting) wake()
    return bytes
  }

  end(partition: number): number {
    const last = this.log[partition]?.at(-1)
    return last === undefined ? this.start : last.offset + last.count
  }

  ownerOf(): number {
    return 0
  }

  topic(name: string): Promise<TopicInfo> {
    this.metadataAsked++
    return Promise.resolve({ name, topicId: 1, partitions: this.partitions })
  }

  async control<Request, Reply>(command: Command<Request, Reply>, body: Request): Promise<Reply> {
    this.requests.push({ name: command.name, body })
    return (await this.#control(command.name, body)) as Reply
  }

  async toOwner<Request, Reply>(
    _owner: number,
    command: Command<Request, Reply>,
    body: Request,
    { signal }: PortRequestOptions = {},
  ): Promise<{ readonly body: Reply; readonly payload: Uint8Array }> {
    this.requests.push({ name: command.name, body })
    await Promise.resolve()
    if (command.name === 'offsets.list')
      return { body: this.#offsets(body) as Reply, payload: new Uint8Array() }
    const scripted = this.fetches.shift()
    const request = body as FetchRequest
    return (await (scripted?.(request) ?? this.#fetch(request, signal))) as {
      body: Reply
      payload: Uint8Array
    }
  }

  /** The requests of one command so far. */
  sent(name: string): unknown[] {
    return this.requests.filter((request) => request.name === name).map(({ body }) => body)
  }

  async #control(name: string, body: unknown): Promise<unknown> {
    if (name === 'group.leave') return {}
    if (name === 'group.commit') {
      const request = body as RequestOf<typeof commands.groupCommit>
      const outcome = (await this.commits.shift()?.(request)) ?? 'ok'
      if (outcome === 'CONNECTION_LOST') throw new MillraceError('CONNECTION_LOST')
      const error = outcome === 'ok' ? 0 : errorTable[outcome].number
      return { results: request.offsets.map(() => ({ error })) }
    }
    const partitions = Array.from({ length: this.partitions }, (_, partition) => ({
      topicId: 1,
      topic: 't',
      partition,
      epoch: 1,
    }))
    if (name === 'group.heartbeat') await new Promise((resolve) => setTimeout(resolve, 50).unref())
    return { generation: 1, partitions }
  }

  #offsets(body: unknown): ReplyOf<typeof commands.offsetsList> {
    const { partitions } = body as RequestOf<typeof commands.offsetsList>
    return {
      partitions: partitions.map(([, partition, at]) => ({
        error: 0,
        offset: at === -2 ? this.start : this.end(partition),
      })),
    }
  }

  async #fetch(request: FetchRequest, signal: AbortSignal | undefined): Promise<FetchReply> {
    const reply = this.#read(request)
    if (reply.body.partitions.length > 0) return reply
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, request.waitMs)
      timer.unref()
      this.#waiting.add(resolve)
      signal?.addEventListener('abort', () => resolve(), { once: true })
    })
    signal?.throwIfAborted()
    return this.#read(request)
  }

  #read(request: FetchRequest): FetchReply {
    const partitions: [number, number, number, number, number, number, string | undefined][] = []
    const payload: Uint8Array[] = []
    for (const [topicId, partition, offset] of request.partitions) {
      const end = this.end(partition)
      if (offset < this.start || offset > end) {
        partitions.push([
          topicId,
          partition,
          errorTable.OFFSET_OUT_OF_RANGE.number,
          0,
          this.start,
          end,
          undefined,
        ])
        continue
      }
      const found = (this.log[partition] ?? []).filter((batch) => batch.offset + batch.count > offset)
      if (found.length === 0) continue
      const bytes = found.reduce((sum, batch) => sum + batch.bytes.length, 0)
      partitions.push([topicId, partition, 0, bytes, this.start, end, undefined])
      payload.push(...found.map((batch) => batch.bytes))
    }
    return { body: { partitions }, payload: Buffer.concat(payload) }
  }
}

/** A reply that refuses every partition of a fetch. */
export function refusal(request: FetchRequest, code: ErrorCode): FetchReply {
  const { number } = errorTable[code]
  const partitions = request.partitions.map(
    ([topicId, partition]) => [topicId, partition, number, 0, 0, 0, undefined] as const,
  )
  return { body: { partitions }, payload: new Uint8Array() }
}
