import { commands, MillraceError, type ReplyOf } from '../protocol/index.js'
import { type Address, parseAddress } from './address.js'
import { GroupsAdmin, TopicsAdmin } from './admin.js'
import { pause } from './backoff.js'
import type { BulkPublishOptions, BulkReceipt } from './bulk_publish.js'
import { Cluster } from './cluster.js'
import {
  type BrokerPort,
  type ConsumeOptions,
  Consumer,
  type ConsumerStats,
  type Message,
  type MessageOf,
} from './consumer/index.js'
import { channels, tracePublish } from './diagnostics.js'
import { ClientEmitter, type ClientEvents, type ClientListener, ConnectionStory } from './events.js'
import { DelayedAdmin, SchedulesAdmin } from './later/index.js'
import type { LinkOptions } from './link.js'
import { type CallOptions, checkCallOptions, checkOptions, type OptionNames } from './options.js'
import type { Receipt } from './producer/batch.js'
import { Producer } from './producer/producer.js'
import { type ProducerOptions, producerSettings } from './producer/settings.js'
import { Publisher } from './publisher.js'
import { QueuesAdmin } from './queues_admin.js'
import type { MessageInput } from './record.js'
import { Requests, responder, type Service, type ServiceHandler } from './service/index.js'
import {
  type KeyOf,
  type OutputOf,
  readerOf,
  type Topic,
  type TopicOrName,
  type TopicsIn,
  topicOf,
} from './topic.js'
import { Transaction } from './transaction.js'
import {
  checkWorkOptions,
  type WorkBatch,
  type WorkBatchHandler,
  type WorkBatchOptions,
  Worker,
  type WorkHandler,
  type WorkMessageOf,
  type WorkOptions,
  type WorkOutputOf,
  type WorkSettings,
  workBatchSettings,
  workSettings,
} from './worker/index.js'

type Messages<Value, Key> = Iterable<MessageInput<Value, Key>> | AsyncIterable<MessageInput<Value, Key>>

/** A request of a worker that died should reach another one before whoever asked gives up. */
const respondLeaseMs = 10_000

export type BrokerStatus = ReplyOf<typeof commands.status>

export interface ConnectOptions {
  /** Addresses as `host:port`, tried in turn. Default localhost:7420. */
  readonly servers?: string | readonly string[] | undefined
  /** Shown by the broker's status and group descriptions. Default "millrace". */
  readonly clientName?: string | undefined
  /** Credentials for brokers that ask for them. */
  readonly token?: string | undefined
  /** For one attempt to connect. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined
  /** For a request and its reply, reconnecting included. Default 30,000. */
  readonly requestTimeoutMs?: number | undefined
  /** Pauses between attempts to reconnect: they double from about `initialMs` up to `maxMs`. Default 50 and 2,000. */
  readonly reconnect?:
    | { readonly initialMs?: number | undefined; readonly maxMs?: number | undefined }
    | undefined
  readonly producer?: ProducerOptions | undefined
  /** How long `close` lets published messages finish. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Ends the attempt to connect; once connected, aborting closes the client. */
  readonly signal?: AbortSignal | undefined
}

const connectOptionNames: OptionNames<ConnectOptions> = {
  servers: true,
  clientName: true,
  token: true,
  connectTimeoutMs: true,
  requestTimeoutMs: true,
  reconnect: true,
  producer: true,
  closeTimeoutMs: true,
  signal: true,
}
const signalOnly = { signal: true } as const
const bulkOptionNames: OptionNames<BulkPublishOptions> = { signal: true, onAcknowledged: true }

/**
 * Connects to a broker.
 *
 *     await using client = await connect('localhost:7420')
 *
 * @param target one address, several that are tried in turn, or options
 * @throws MillraceError NOT_CONNECTED naming each address and why it failed, BAD_OPTION, UNSUPPORTED_VERSION
 */
export async function connect(target: string | readonly string[] | ConnectOptions = {}): Promise<Client> {
  const options: ConnectOptions =
    typeof target === 'string' || Array.isArray(target)
      ? { servers: target as string | readonly string[] }
      : (target as ConnectOptions)
  options.signal?.throwIfAborted()
  const client = new Client(options)
  try {
    await client.connect(options.signal)
  } catch (error) {
    await client.close({ timeoutMs: 0 })
    throw error
  }
  return client
}

/** A connection to a broker and everything that can be done through it. Use `connect`. */
export class Client implements AsyncDisposable {
  readonly topics: TopicsAdmin
  readonly groups: GroupsAdmin
  readonly queues: QueuesAdmin
  readonly delayed: DelayedAdmin
  readonly schedules: SchedulesAdmin
  readonly #addresses: readonly Address[]
  readonly #linkOptions: LinkOptions
  readonly #emitter = new ClientEmitter()
  readonly #story: ConnectionStory
  readonly #cluster: Cluster
  readonly #producer: Producer
  readonly #publisher: Publisher
  readonly #requests: Requests
  readonly #workers = new Set<{ close(): Promise<void>; kill(): void }>()
  readonly #consumers = new Set<{ close(): Promise<void>; kill(): void; stats(): ConsumerStats }>()
  readonly #closeTimeoutMs: number
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => {
    this.close({ timeoutMs: 0 }).catch(() => {})
  }
  #closing: Promise<unknown> | undefined
  /** While it closes, handlers that still run may publish; then nobody may. */
  #isClosed = false

  /** Use `connect`. */
  constructor(options: ConnectOptions) {
    checkOptions('connect', options, connectOptionNames)
    checkOptions('connect', options.reconnect, { initialMs: true, maxMs: true }, 'reconnect.')
    const { initialMs = 50, maxMs = 2_000 } = options.reconnect ?? {}
    const reconnect = {
      initialMs: positive('reconnect.initialMs', initialMs),
      maxMs: positive('reconnect.maxMs', maxMs),
    }
    this.#addresses = addressesOf(options.servers)
    this.#linkOptions = {
      clientName: options.clientName ?? 'millrace',
      token: options.token,
      connectTimeoutMs: positive('connectTimeoutMs', options.connectTimeoutMs ?? 5_000),
      requestTimeoutMs: positive('requestTimeoutMs', options.requestTimeoutMs ?? 30_000),
      reconnect,
    }
    this.#story = new ConnectionStory(this.#emitter, this.#linkOptions.clientName)
    this.#cluster = new Cluster(this.#addresses, this.#linkOptions, this.#story)
    this.#producer = new Producer(this.#cluster, producerSettings(options.producer), reconnect)
    this.#publisher = new Publisher(this.#cluster, this.#producer)
    this.#requests = new Requests(this.#cluster)
    this.topics = new TopicsAdmin(this.#cluster)
    this.groups = new GroupsAdmin(this.#cluster)
    this.queues = new QueuesAdmin(this.#cluster)
    this.delayed = new DelayedAdmin(this.#cluster)
    this.schedules = new SchedulesAdmin(this.#cluster)
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 30_000
    if (this.#closeTimeoutMs !== 0) positive('closeTimeoutMs', this.#closeTimeoutMs)
    this.#signal = options.signal
  }

  /** Called by `connect`. @internal */
  async connect(signal?: AbortSignal): Promise<void> {
    await this.#cluster.connect(signal)
    this.#signal?.throwIfAborted()
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /**
   * Whether the client has a connection to a broker. It opens a lost one again as soon as something needs it: consumers and
   * workers always do, an idle client does not.
   */
  get isConnected(): boolean {
    return this.#story.isConnected
  }

  /**
   * Calls `listener` for each event of the client: `disconnected`, `reconnecting` (before each attempt) and `connected`.
   * They are about the client as a whole, not about each of its sockets. Without a listener for `disconnected` or
   * `reconnecting`, the first loss of the connection prints a process warning.
   *
   *     client.on('disconnected', ({ address, error }) => log.warn(`${address}: ${error.message}`))
   *
   * @throws MillraceError BAD_OPTION for an unknown event
   */
  on<Name extends keyof ClientEvents>(event: Name, listener: ClientListener<Name>): this {
    this.#emitter.add(event, listener, false)
    return this
  }

  /** As `on`, for the next event only. @throws MillraceError BAD_OPTION for an unknown event */
  once<Name extends keyof ClientEvents>(event: Name, listener: ClientListener<Name>): this {
    this.#emitter.add(event, listener, true)
    return this
  }

  /** Ends what `on` or `once` with the same listener began. */
  off<Name extends keyof ClientEvents>(event: Name, listener: ClientListener<Name>): this {
    this.#emitter.remove(event, listener)
    return this
  }

  /**
   * Publishes a message; resolves when it would survive a crash of the broker. Messages of one key, and messages without
   * a key that are published one after the other's receipt, are read in this order.
   * Aborting `signal` ends the wait; a message that is in the buffer by then may still be published.
   * @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION, ENCODE_FAILED, VALUE_TOO_LARGE, BUFFER_FULL (if so configured),
   * DELIVERY_TIMEOUT (the outcome is unknown), CLOSED
   */
  publish(
    topic: string,
    message: MessageInput<Uint8Array | null, string>,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Receipt>
  publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<NoInfer<Input>, NoInfer<Key>>,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Receipt>
  publish(
    topic: TopicOrName,
    message: MessageInput<unknown, unknown>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Receipt> {
    try {
      checkOptions('client.publish', options, signalOnly)
      return this.#publish(this.#topic(topic), message, options.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Publishes many messages, without a promise for each; resolves when all are durable. Takes from `messages` only as
   * fast as the broker acknowledges. Aborting `signal` ends it; what was taken by then may still be published, and
   * `onAcknowledged` has told how many messages are.
   * @throws MillraceError as `publish`, for the first message that fails; the others may have been published
   */
  publishMany(
    topic: string,
    messages: Messages<Uint8Array | null, string>,
    options?: BulkPublishOptions,
  ): Promise<BulkReceipt>
  publishMany<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    messages: Messages<NoInfer<Input>, NoInfer<Key>>,
    options?: BulkPublishOptions,
  ): Promise<BulkReceipt>
  async publishMany(
    topic: TopicOrName,
    messages: Messages<unknown, unknown>,
    options: BulkPublishOptions = {},
  ): Promise<BulkReceipt> {
    checkOptions('client.publishMany', options, bulkOptionNames)
    const known = this.#topic(topic)
    if (!channels.publish.hasSubscribers) return this.#publisher.publishMany(known, messages, options)
    return tracePublish(known.name, undefined, () => this.#publisher.publishMany(known, messages, options))
  }

  /** Resolves when everything that was published before is durable or has failed. */
  flush(): Promise<void> {
    return this.#publisher.flush()
  }

  /**
   * Reads one topic or several, alone or in a group.
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  consume<Input, Output, Key, Name extends string>(
    topic: Topic<Input, Output, Key, Name>,
    options?: ConsumeOptions,
  ): Consumer<Output, Key, Message<Output, Key, Name>>
  consume<const Topics extends string | readonly TopicOrName[]>(
    topics: Topics,
    options?: ConsumeOptions,
  ): Consumer<OutputOf<TopicsIn<Topics>>, KeyOf<TopicsIn<Topics>>, MessageOf<TopicsIn<Topics>>>
  consume(
    topics: TopicOrName | readonly TopicOrName[],
    options: ConsumeOptions = {},
  ): Consumer<unknown, unknown> {
    if (this.#closing !== undefined) throw new MillraceError('CLOSED', 'the client is closed')
    const consumed = listOf(topics).map((one) => {
      const topic = topicOf(one)
      return { name: topic.name, decoder: readerOf(topic, topic.tombstones) }
    })
    for (const one of this.#consumers) if (one.stats().state === 'closed') this.#consumers.delete(one)
    const consumer = new Consumer(this.#port(), consumed, options)
    this.#consumers.add(consumer)
    return consumer
  }

  /**
   * Handles the messages of a queue group, with any number of other workers: each message by one of them. A handler that
   * resolves acknowledges its message; one that throws has failed, and the message comes again as the group's settings say.
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  work<Input, Output, Key, Name extends string>(
    topic: Topic<Input, Output, Key, Name>,
    options: WorkOptions,
    handler: WorkHandler<Output, Key, Name>,
  ): Worker<Output, Key>
  work<const Topics extends string | readonly TopicOrName[]>(
    topics: Topics,
    options: WorkOptions,
    handler: (message: WorkMessageOf<TopicsIn<Topics>>) => unknown,
  ): Worker<WorkOutputOf<TopicsIn<Topics>>, KeyOf<TopicsIn<Topics>>>
  work(
    topics: TopicOrName | readonly TopicOrName[],
    options: WorkOptions,
    handler: (message: never) => unknown,
  ): Worker<unknown, unknown> {
    return this.#work(topics, workSettings(options), handler as WorkHandler<unknown, unknown>)
  }

  /**
   * As `work`, with a handler that gets up to `messagesMax` messages at a time. When it resolves, the messages are
   * acknowledged. When it throws, the attempt of each of them has failed. `batch.fail` and `batch.ack` settle single messages,
   * whatever becomes of the rest.
   *
   *     client.workBatch(mails, { group: 'mailer', messagesMax: 50, waitMs: 20 }, async (batch) => {
   *       const bounced = await sendAll(batch.messages.map(({ value }) => value))
   *       for (const index of bounced) batch.fail(batch.messages[index], new Reject('no such address'))
   *     })
   *
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  workBatch<Input, Output, Key, Name extends string>(
    topic: Topic<Input, Output, Key, Name>,
    options: WorkBatchOptions,
    handler: WorkBatchHandler<Output, Key, Name>,
  ): Worker<Output, Key>
  workBatch<const Topics extends string | readonly TopicOrName[]>(
    topics: Topics,
    options: WorkBatchOptions,
    handler: (batch: WorkBatch<WorkMessageOf<TopicsIn<Topics>>>) => unknown,
  ): Worker<WorkOutputOf<TopicsIn<Topics>>, KeyOf<TopicsIn<Topics>>>
  workBatch(
    topics: TopicOrName | readonly TopicOrName[],
    options: WorkBatchOptions,
    handler: (batch: never) => unknown,
  ): Worker<unknown, unknown> {
    return this.#work(topics, workBatchSettings(options), handler as WorkBatchHandler<unknown, unknown>)
  }

  /**
   * Asks a service, and resolves with its reply.
   * @throws MillraceError REQUEST_TIMEOUT, REPLY_FAILED with what the service said, and all that `publish` throws; the
   * reason of `signal`
   */
  async request<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>(
    service: Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>,
    message: Omit<MessageInput<RequestIn, Key>, 'delay' | 'deliverAt' | 'id' | 'ttlMs' | 'timestamp'>,
    options: CallOptions = {},
  ): Promise<ReplyOut> {
    checkCallOptions('client.request', options)
    const { timeoutMs = this.#cluster.requestTimeoutMs, signal } = options
    if (this.#isClosed) throw new MillraceError('CLOSED', 'the client is closed')
    return this.#requests.request(service, message, positive('timeoutMs', timeoutMs), signal, (one) =>
      this.#publish(service.topic, one),
    )
  }

  /**
   * Replies to the requests of a service, as one of any number of workers: what the handler resolves with is the reply, what
   * it throws is the asker's error. A request whose worker dies goes to another one.
   * @param options as `work`; the group is `respond.TOPIC` unless it is named, leases are 10 s long
   * @throws MillraceError BAD_OPTION, CLOSED
   */
  respond<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>(
    service: Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key>,
    options: Partial<WorkOptions>,
    handler: ServiceHandler<RequestOut, ReplyIn, Key>,
  ): Worker<RequestOut, Key> {
    checkWorkOptions('client.respond', options)
    const settings = { expired: 'drop', retry: { kind: 'fixed', delay: 0 }, ...options.settings } as const
    const group = options.group ?? `respond.${service.topic.name}`
    return this.work(
      service.topic,
      { leaseMs: respondLeaseMs, ...options, group, settings },
      responder(this.#cluster, service, handler),
    )
  }

  /**
   * Publishes messages, acknowledges messages that are being handled, and commits offsets, all of it in one commit of the
   * broker or nothing of it. Nothing is sent when `build` throws.
   * @throws what `build` throws; MillraceError LEASE_LOST, UNKNOWN_TOPIC, ENCODE_FAILED, VALUE_TOO_LARGE, CLOSED and others:
   * then nothing was done; REQUEST_TIMEOUT, CONNECTION_LOST: the outcome is unknown
   */
  async transaction<T>(build: (transaction: Transaction) => T | Promise<T>): Promise<T> {
    if (this.#isClosed) throw new MillraceError('CLOSED', 'the client is closed')
    const transaction = new Transaction(this.#cluster)
    const result = await build(transaction)
    await transaction.commit()
    return result
  }

  /** How the broker is. */
  async status(options: CallOptions = {}): Promise<BrokerStatus> {
    checkCallOptions('client.status', options)
    return this.#cluster.call(commands.status, {}, { ...options, repeatable: true })
  }

  /**
   * Lets handlers of workers and consumers finish (they may still publish), closes consumers (committing what is
   * acknowledged), lets published messages finish, and disconnects. Messages that are not acknowledged after `timeoutMs`
   * fail with CLOSED. May be called again, to wait less.
   */
  async close(options: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    checkOptions('client.close', options, { timeoutMs: true })
    const { timeoutMs = this.#closeTimeoutMs } = options
    this.#closing ??= this.#finish()
    await this.#end(this.#closing, timeoutMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Lets what was begun come to its end. */
  async #finish(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    const handling = [...this.#workers, ...[...this.#consumers].filter((one) => one.stats().running > 0)]
    // Handlers that end meanwhile may still publish.
    if (handling.length > 0) await Promise.allSettled(handling.map((one) => one.close()))
    this.#isClosed = true
    this.#publisher.close()
    await Promise.allSettled([
      this.#publisher.flush(),
      ...Array.from(this.#consumers, (consumer) => consumer.close()),
    ])
  }

  async #end(finished: Promise<unknown>, timeoutMs: number): Promise<void> {
    const stopWaiting = new AbortController()
    await Promise.race([finished, pause(timeoutMs, stopWaiting.signal)])
    stopWaiting.abort()
    this.#isClosed = true
    for (const worker of this.#workers) worker.kill()
    for (const consumer of this.#consumers) consumer.kill()
    this.#producer.close()
    this.#publisher.end()
    this.#requests.close(new MillraceError('CLOSED', 'the client was closed before the reply came'))
    this.#story.close()
    this.#cluster.close()
    await finished
  }

  #publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    signal?: AbortSignal,
  ): Promise<Receipt> {
    if (!channels.publish.hasSubscribers) return this.#publisher.publish(topic, message, signal)
    return tracePublish(topic.name, message, (one) =>
      this.#publisher.publish(topic, one as MessageInput<Input, Key>, signal),
    )
  }

  #work(
    topics: TopicOrName | readonly TopicOrName[],
    settings: WorkSettings,
    handler: WorkHandler<unknown, unknown> | WorkBatchHandler<unknown, unknown>,
  ): Worker<unknown, unknown> {
    if (this.#closing !== undefined) throw new MillraceError('CLOSED', 'the client is closed')
    const worked = listOf(topics).map((one) => {
      const topic = topicOf(one)
      // Work has a value: only a topic that is defined so may have tombstones among it.
      const source = readerOf(topic, typeof one !== 'string' && topic.tombstones)
      return { name: topic.name, source, ahead: source.ahead }
    })
    const host = {
      cluster: this.#cluster,
      addresses: this.#addresses,
      options: this.#linkOptions,
      ended: () => this.#workers.delete(worker),
    }
    const worker = new Worker(host, worked, settings, handler)
    this.#workers.add(worker)
    return worker
  }

  #topic(topic: TopicOrName): Topic<unknown, unknown, unknown> {
    if (this.#isClosed) throw new MillraceError('CLOSED', 'the client is closed')
    return topicOf(topic)
  }

  #port(): BrokerPort {
    const cluster = this.#cluster
    return {
      limits: cluster.limits,
      control: (command, body, options) => cluster.control(command, body, options),
      toOwner: (owner, command, body, options) => cluster.toOwner(owner, 'fetch', command, body, options),
      ownerOf: (topic, partition) => cluster.ownerOf(topic, partition),
      topic: (name, options) => cluster.topic(name, options),
    }
  }
}

function listOf(topics: TopicOrName | readonly TopicOrName[]): readonly TopicOrName[] {
  return Array.isArray(topics) ? topics : [topics as TopicOrName]
}

function addressesOf(servers: string | readonly string[] = 'localhost'): Address[] {
  const list = typeof servers === 'string' ? [servers] : servers
  if (list.length === 0)
    throw new MillraceError('BAD_OPTION', 'the option "servers" is empty, expected at least one address')
  return list.map(parseAddress)
}

function positive(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value
  throw new MillraceError('BAD_OPTION', `the option "${name}" is ${value}, expected a number of ms above 0`)
}
