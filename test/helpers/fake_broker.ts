import { createServer, type Server, type Socket } from 'node:net'
import {
  type BatchHeader,
  checkBatchForStorage,
  commandOf,
  commands,
  decodeBody,
  type ErrorCode,
  encodeFrame,
  errorFields,
  errorTable,
  type Frame,
  FrameDecoder,
  frameFlags,
  limits,
  MillraceError,
  RecordCursor,
  type ReplyOf,
  type RequestOf,
} from '../../protocol/index.js'
import type { TestContext } from './suite.js'

type BrokerLimits = { -readonly [Name in keyof ReplyOf<typeof commands.hello>['limits']]: number }

/**
 * The reaction of the fake broker to a request: `answer` as a broker would; `refuse` with an error for the whole
 * request, or
 * `refuseBatches` for each batch of a publish; `drop` the request; `mute` executes it without a reply; `hold` executes
 * it and replies once `release` is called; `cut` ends the connection without execution; `cutReply` executes it and cuts
 * the
 * connection in the middle of the reply.
 */
export type Deed =
  | { readonly kind: 'answer' | 'drop' | 'mute' | 'hold' | 'cut' | 'cutReply' }
  | { readonly kind: 'refuse' | 'refuseBatches'; readonly code: ErrorCode }
  /** A reply with this body, whatever the request; if `held`, once `release` is called. */
  | { readonly kind: 'say'; readonly body: unknown; readonly held?: boolean }

export interface FakeTopic {
  readonly name: string
  readonly topicId: number
  readonly partitions: FakePartition[]
  batchBytesMax: number
}

interface ProducerMark {
  epoch: number
  nextSequence: number
  /** Base offsets by base sequence. */
  offsets: Map<number, number>
}

/** A partition: its values, and the broker's rules for sequences. */
export class FakePartition {
  readonly values: (string | null)[] = []
  /** One entry for each appended batch. */
  readonly batches: BatchHeader[] = []
  readonly #producers = new Map<number, ProducerMark>()

  append(batch: Uint8Array, batchBytesMax: number): number {
    const header = checkBatchForStorage(batch, batchBytesMax)
    const { producerId, producerEpoch: epoch, baseSequence, recordCount } = header
    let mark = this.#producers.get(producerId)
    if (mark !== undefined && epoch < mark.epoch) throw new MillraceError('PRODUCER_FENCED')
    if (mark === undefined || epoch > mark.epoch) {
      if (baseSequence !== 0)
        throw new MillraceError('OUT_OF_ORDER_SEQUENCE', `expected 0, got ${baseSequence}`)
      mark = { epoch, nextSequence: 0, offsets: new Map() }
    }
    const known = mark.offsets.get(baseSequence)
    if (known !== undefined) return known
    if (baseSequence !== mark.nextSequence)
      throw new MillraceError('OUT_OF_ORDER_SEQUENCE', `expected ${mark.nextSequence}, got ${baseSequence}`)
    this.#producers.set(producerId, mark)
    mark.offsets.set(baseSequence, this.values.length)
    mark.nextSequence = (baseSequence + recordCount) % 2 ** 32
    const baseOffset = this.values.length
    this.batches.push(header)
    const cursor = new RecordCursor(batch)
    while (cursor.next()) {
      const { valueStart, valueEnd, records } = cursor
      this.values.push(
        valueStart < 0 ? null : Buffer.from(records.subarray(valueStart, valueEnd)).toString('utf8'),
      )
    }
    return baseOffset
  }
}

/** A received request. */
export interface SeenRequest {
  readonly name: string
  readonly body: unknown
  readonly frameBytes: number
}

/** A scripted broker over a real socket that keeps published messages in memory. */
export class FakeBroker {
  readonly seen: SeenRequest[] = []
  readonly topics = new Map<string, FakeTopic>()
  /** Decides about each request; hello is always answered unless `hello` says otherwise. */
  decide: (name: string, body: unknown) => Deed = () => ({ kind: 'answer' })
  hello: Deed = { kind: 'answer' }
  limits: BrokerLimits = {
    frameBytesMax: limits.frameBytesMax,
    batchBytesMax: limits.batchBytesMax,
    inFlightRequestsMax: limits.inFlightRequestsMax,
    fetchWaitMsMax: limits.fetchWaitMsMax,
    sessionTimeoutMsMin: limits.sessionTimeoutMsMin,
    sessionTimeoutMsMax: limits.sessionTimeoutMsMax,
  }
  connections = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #held: (() => void)[] = []
  #topicIds = 0
  #producerIds = 0

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket) => this.#serve(socket))
  }

  static async start(context: TestContext, port = 0): Promise<FakeBroker> {
    const server = createServer()
    const broker = new FakeBroker(server)
    await broker.listen(port)
    context.defer(() => broker.stop())
    return broker
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Sockets that are open now. */
  get openSockets(): number {
    return this.#sockets.size
  }

  /** Number of held replies. */
  get heldCount(): number {
    return this.#held.length
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, '127.0.0.1', () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  /** Stops listening and cuts all connections. */
  async stop(): Promise<void> {
    this.cut()
    if (!this.#server.listening) return
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#held = []
  }

  /** Stops reading, until `resume`. */
  pause(): void {
    for (const socket of this.#sockets) socket.pause()
  }

  resume(): void {
    for (const socket of this.#sockets) socket.resume()
  }

  /** Sends held replies: all, in their order, or in the order of these indices. */
  release(order?: readonly number[]): void {
    const held = this.#held
    this.#held = []
    for (const index of order ?? held.keys()) held[index]?.()
  }

  createTopic(name: string, partitions = 1, batchBytesMax: number = limits.batchBytesMax): FakeTopic {
    const topic: FakeTopic = {
      name,
      topicId: ++this.#topicIds,
      partitions: Array.from({ length: partitions }, () => new FakePartition()),
      batchBytesMax,
    }
    this.topics.set(name, topic)
    return topic
  }

  /** Requests of this command. */
  requests(name: string): SeenRequest[] {
    return this.seen.filter((request) => request.name === name)
  }

  #serve(socket: Socket): void {
    this.connections++
    this.#sockets.add(socket)
    const decoder = new FrameDecoder()
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('data', (chunk) => {
      for (const frame of decoder.push(chunk)) if (!socket.destroyed) this.#take(socket, frame)
    })
  }

  #take(socket: Socket, frame: Frame): void {
    const command = commandOf(frame.command)
    const name = command?.name ?? `command ${frame.command}`
    const body = command?.request.read(decodeBody(frame.body), '')
    this.seen.push({ name, body, frameBytes: 16 + frame.body.length + frame.payload.length })
    const deed = name === 'hello' ? this.hello : this.decide(name, body)
    if (deed.kind === 'drop') return
    if (deed.kind === 'cut') return void socket.destroy()
    const reply = this.#reply(frame, name, body, deed)
    const send = (): void => void (socket.destroyed || socket.write(reply))
    if (deed.kind === 'mute') return
    if (deed.kind === 'hold' || (deed.kind === 'say' && deed.held === true)) this.#held.push(send)
    else if (deed.kind === 'cutReply') socket.end(reply.subarray(0, reply.length >> 1))
    else send()
  }

  #reply(frame: Frame, name: string, body: unknown, deed: Deed): Buffer {
    const { command, correlation } = frame
    try {
      if (deed.kind === 'refuse') throw new MillraceError(deed.code)
      const refusal = deed.kind === 'refuseBatches' ? deed.code : undefined
      const reply = deed.kind === 'say' ? deed.body : this.#perform(name, body, frame.payload, refusal)
      return encodeFrame(command, frameFlags.reply, correlation, reply)
    } catch (error) {
      return encodeFrame(command, frameFlags.reply | frameFlags.error, correlation, errorFields(error))
    }
  }

  #perform(name: string, body: unknown, payload: Uint8Array, refusal: ErrorCode | undefined): unknown {
    switch (name) {
      case commands.hello.name:
        return { version: 1, brokerId: 0, brokerVersion: '0', limits: this.limits }
      case commands.metadata.name:
        return this.#metadata(body as RequestOf<typeof commands.metadata>)
      case commands.producerInit.name:
        return { producerId: ++this.#producerIds }
      case commands.publish.name:
        return this.#publish(body as RequestOf<typeof commands.publish>, payload, refusal)
      case commands.ping.name:
      case commands.topicDelete.name:
        return {}
      default:
        throw new MillraceError('UNKNOWN_COMMAND', `the fake broker knows no "${name}"`)
    }
  }

  #metadata({ topics: names = [] }: RequestOf<typeof commands.metadata>): unknown {
    const topics = names.map((name) => {
      const topic = this.topics.get(name)
      if (topic === undefined) return { name, ...errorFields(new MillraceError('UNKNOWN_TOPIC')) }
      return { name, error: 0, topicId: topic.topicId, owners: topic.partitions.map(() => 0) }
    })
    return { brokers: [{ brokerId: 0, host: '127.0.0.1', port: this.port }], topics }
  }

  #publish(
    { batches }: RequestOf<typeof commands.publish>,
    payload: Uint8Array,
    refusal: ErrorCode | undefined,
  ): unknown {
    let at = 0
    const results = batches.map(([topicId, partition, bytes]) => {
      const batch = payload.subarray(at, at + bytes)
      at += bytes
      try {
        if (refusal !== undefined) throw new MillraceError(refusal)
        const topic = [...this.topics.values()].find((one) => one.topicId === topicId)
        if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
        const log = topic.partitions[partition]
        if (log === undefined) throw new MillraceError('UNKNOWN_PARTITION')
        return { error: 0, baseOffset: log.append(batch, topic.batchBytesMax) }
      } catch (error) {
        return error instanceof MillraceError ? errorFields(error) : { error: errorTable.INTERNAL.number }
      }
    })
    return { results }
  }
}
